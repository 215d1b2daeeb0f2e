"""``python -m dcar_edu``: the same as the command ``dcar``."""

import sys

from dcar_edu.cli import main

if __name__ == "__main__":
    sys.exit(main())
