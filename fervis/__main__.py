"""``python -m fervis [overrides]`` and the console script ``fervis``."""

from __future__ import annotations

import sys

from fervis.system.signals import handle_signals, interruption_message, typed_command


def main() -> None:
    """Ask the question of the command line and leave with its exit code."""
    if sys.argv[1:3] == ["completion", "query"]:  # asked at every TAB, which must not wait for Hydra's import
        from fervis.cli.completion import completion

        completion(sys.argv[2:])
        return
    try:
        with handle_signals():
            from fervis.cli.main import main
    except KeyboardInterrupt as stopped:
        print(f"fervis: {interruption_message(stopped, typed_command(sys.argv[1:]))}", file=sys.stderr)
        sys.exit(getattr(stopped, "code", 130))
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    main()
