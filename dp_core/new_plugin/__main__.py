"""See `dp_core.cli.new_plugin`."""

import sys

from dp_core.cli.new_plugin import main

sys.exit(main())
