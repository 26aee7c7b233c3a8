"""`python -m fqvit_hw`: the same as `fqvit-hw`."""

import sys

from .commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
