"""``python -m dp_core.new_plugin``: runs `dp_core.new_plugin.command`."""

import sys

from dp_core.new_plugin.command import main

sys.exit(main())
