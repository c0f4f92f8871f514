"""``python -m fervis [overrides]`` and the console script ``fervis``."""

from __future__ import annotations

import sys

from fervis.commands import run


def main() -> None:
    """Ask the question of the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
