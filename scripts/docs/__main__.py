"""Runs `scripts.docs.command`."""

import sys

from scripts.docs.command import main

sys.exit(main())
