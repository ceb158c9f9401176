"""`python -m allaprima`: the same as the `allaprima` command."""

import sys

from .cli import main

sys.exit(main())
