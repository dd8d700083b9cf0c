"""``python -m fast_nst`` is the command ``fast-nst``."""

import sys

from fast_nst.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
