"""``python -m fervis [overrides]`` and the console script ``fervis``."""

from __future__ import annotations

import sys

from fervis.stopping import farewell, stoppable, typed_command


def main() -> None:
    """Ask the question of the command line and leave with its exit code."""
    if sys.argv[1:3] == ["completion", "query"]:  # asked at every TAB, which must not wait for Hydra's import
        from fervis.completing import completion

        completion(sys.argv[2:])
        return
    try:
        with stoppable():
            from fervis.commands import run
    except KeyboardInterrupt as stopped:
        print(f"fervis: {farewell(stopped, typed_command(sys.argv[1:]))}", file=sys.stderr)
        sys.exit(getattr(stopped, "code", 130))
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
