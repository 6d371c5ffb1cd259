"""`python -m daypack` is `daypack`."""

import sys

from daypack.cli import main

if __name__ == "__main__":
    sys.exit(main())
