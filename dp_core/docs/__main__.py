"""See `dp_core.cli.docs`."""

import sys

from dp_core.cli.docs import main

sys.exit(main())
