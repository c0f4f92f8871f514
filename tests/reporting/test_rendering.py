"""What every page shares: its policy, its style, its scripts, and how values are formatted."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from support.pages import EVIL, Page

from fervis.reporting import rendering
from fervis.reporting.rendering import format_cell, format_time, render_page, render_template
from fervis.reporting.sweep.line_chart import COLOR_COUNT

TEMPLATES = Path(rendering.__file__).with_name("templates")


def page_of(title: str = "A title") -> str:
    return render_page("base.html.j2", scripts=["copy.js", "zoom.js"], title=title, version="0.1.0")


def test_the_policy_names_the_hash_of_the_script() -> None:
    text = page_of()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [
        given["content"] for tag, given in Page(text).tags if given.get("http-equiv") == "Content-Security-Policy"
    ]
    assert str(policy).split("; ") == [
        *("default-src 'none'", "base-uri 'none'", "form-action 'none'", "img-src data: 'self'"),
        *("style-src 'unsafe-inline'", f"script-src 'sha256-{digest}'"),
    ]
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_values_are_escaped_and_assets_are_not() -> None:
    text = page_of(EVIL)
    assert EVIL not in text
    assert Page(text).text["h1"] == [EVIL]
    assert (TEMPLATES / "zoom.js").read_text(encoding="utf-8") in text
    assert (TEMPLATES / "style.css").read_text(encoding="utf-8") in text


def test_assets_cannot_end_their_own_element() -> None:
    for path in [*TEMPLATES.glob("*.js"), *TEMPLATES.glob("*.css")]:
        assert not re.search(r"</(script|style)|<!--", path.read_text(encoding="utf-8"), re.IGNORECASE), path


def test_a_value_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="title"):
        render_template("base.html.j2", version="", script="", script_hash="", style="")


def test_the_style_has_a_colour_for_each_line_of_a_chart() -> None:
    style = (TEMPLATES / "sweep.css").read_text(encoding="utf-8")
    for name in (r"--c(\d+): #", r"\.line\.c(\d+) \{", r"\.dot\.c(\d+) \{"):
        assert {int(number) for number in re.findall(name, style)} == set(range(COLOR_COUNT))


def test_cells_and_times() -> None:
    assert [format_cell(value) for value in (0.931234, 12.0, 7, None, "conv7", True)] == [
        *("0.9312", "12", "7", "", "conv7", "True"),
    ]
    assert format_time("2026-11-23T19:45:00+00:00") == "2026-11-23 19:45 UTC"
    assert format_time("yesterday") == "yesterday"
