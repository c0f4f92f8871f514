"""``python -m fervis [overrides]`` and the console script ``fervis``."""

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:3] == ["completion", "query"]:  # at every TAB, which must not wait for Hydra's import
        from fervis.cli.completion import completion

        completion(sys.argv[2:])
        return
    from fervis.system.signals import handle_signals, interruption_message, typed_command

    try:
        with handle_signals():
            from fervis.cli.main import main
    except KeyboardInterrupt as stopped:
        print(f"fervis: {interruption_message(stopped, typed_command(sys.argv[1:]))}", file=sys.stderr)
        sys.exit(getattr(stopped, "code", 130))
    sys.exit(main(sys.argv[1:]))


def leave_current_folder() -> None:
    """Take the current folder off the import path: a file of any name there would run in place of a module.

    ``python -m`` puts it first. It stays where fervis itself lies in it, a checkout.
    """
    if not sys.flags.safe_path and f"{sys.path[0]}/fervis" != __file__.replace("\\", "/").rpartition("/")[0]:
        del sys.path[0]


if __name__ == "__main__":
    leave_current_folder()
    main()
