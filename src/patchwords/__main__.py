"""`python -m patchwords` is the same as `patchwords`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
