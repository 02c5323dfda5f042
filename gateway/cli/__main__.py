"""`python -m gateway.cli` is `loomgate`."""

import sys

from gateway.cli import main

sys.exit(main())
