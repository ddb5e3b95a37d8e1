"""`python -m meshproxy.cli`."""

import sys

from meshproxy.cli import main

if __name__ == "__main__":
    sys.exit(main())
