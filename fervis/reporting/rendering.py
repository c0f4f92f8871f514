"""The jinja2 environment of pages and model cards; style sheets and scripts are files next to the templates."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Path(__file__).with_name("templates")


def render_template(name: str, **context: Any) -> str:
    """Render a template; values are escaped unless the template is a Markdown file."""
    return _environment().get_template(name).render(context)


def render_page(name: str, *, scripts: Sequence[str], styles: Sequence[str] = (), **context: Any) -> str:
    """Render a page that needs no other file.

    The page states by a Content-Security-Policy that nothing runs but its own scripts.

    Args:
        name: the template, a child of ``base.html.j2``.
        scripts: files of JavaScript, inlined in this order; the page must work without.
        styles: style sheets in addition to ``style.css``.
        context: what the template shows.
    """
    script = _inlined(scripts)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = _inlined(["style.css", *styles])
    return render_template(name, script=script, script_hash=digest, style=style, **context)


def format_cell(value: object) -> str:
    """Format a number with four significant digits; anything else as it is, None as an empty string.

    Example:
        >>> format_cell(0.123456), format_cell(7), format_cell(None)
        ('0.1235', '7', '')
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def format_time(iso: str) -> str:
    """Format an ISO 8601 time for people; return text that is not a time unchanged.

    Example:
        >>> format_time("2026-11-24T01:37:05+00:00")
        '2026-11-24 01:37 UTC'
    """
    try:
        return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return iso


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        autoescape=lambda name: name is None or not name.endswith(".md.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"breakable": _breakable, "thousands": _thousands}
    return environment


def _inlined(files: Iterable[str]) -> Markup:
    """Join style sheets or scripts of the package, which are trusted and hence not escaped."""
    return Markup("".join(f"\n{(_TEMPLATES / name).read_text(encoding='utf-8')}" for name in files))


def _thousands(count: int | None) -> str | None:
    return None if count is None else f"{count:,}"


def _breakable(name: str) -> Markup:
    """Escape a name and let a line break after each of its parts."""
    return Markup("<wbr>").join(re.split(r"(?<=[/_])", name))
