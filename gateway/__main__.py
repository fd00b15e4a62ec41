"""`python -m gateway` is `cpc`, for where the script is not installed."""

import sys

from gateway.cli import main

if __name__ == "__main__":
    sys.exit(main())
