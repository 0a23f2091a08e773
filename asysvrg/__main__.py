"""`python -m asysvrg` is `asysvrg`."""

import sys

from asysvrg.cli import main

sys.exit(main())
