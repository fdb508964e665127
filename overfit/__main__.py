"""`python -m overfit` is `overfit`."""

import sys

from overfit.cli import main

sys.exit(main())
