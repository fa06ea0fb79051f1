"""``python -m causalsim`` is the command line."""

import sys

from causalsim.cli import main

if __name__ == "__main__":
    sys.exit(main())
