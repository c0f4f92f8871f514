"""The installed package: ``fervis-xai`` on PyPI, where the name ``fervis`` belongs to another project."""

from __future__ import annotations

from importlib.metadata import distributions

DISTRIBUTION = "fervis-xai"
SUMMARY = "What does a facial-expression network look at, and can I believe it?"
"""Description of the project in ``pyproject.toml``, by which its own releases are recognized."""


def install_command(extra: str) -> str:
    """Return the command that installs fervis with one of its extras.

    Example:
        >>> install_command("ray")
        "pip install 'fervis-xai[ray]'"
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def foreign_distribution_warning() -> str | None:
    """Return a warning where another project's ``fervis``, whose import has the same name, is installed; else None."""
    for found in distributions(name="fervis"):
        if found.metadata["Summary"] != SUMMARY:
            return (
                f"another project's package fervis {found.version} is installed, whose files overwrite these; "
                f"pip uninstall fervis, then pip install --force-reinstall --no-deps {DISTRIBUTION}."
            )
    return None
