"""`python -m crossviz`, for where the command `crossviz` is not on the path."""

import sys

from crossviz.cli import main

if __name__ == "__main__":
    sys.exit(main())
