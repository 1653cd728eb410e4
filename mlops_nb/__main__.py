"""`python -m mlops_nb`."""

import sys

from mlops_nb.cli import main

sys.exit(main())
