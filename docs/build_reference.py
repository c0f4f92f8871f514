"""Generate docs/methods.md: what each explainer needs and costs, and which test holds it to which truth.

``python docs/build_reference.py`` writes it from the registry, from ``docs/methods/<family>.toml`` and from the last
run of ``benchmarks/table.py``. ``tests/docs/test_reference.py`` fails where it is out of date or names a test that does
not exist.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import build_methods  # noqa: E402

PAGE = ROOT / "docs" / "methods.md"
FACTS = ROOT / "docs" / "methods"
SPEEDS = ROOT / "benchmarks" / "speeds.json"
KEYS = {"needs", "passes", "verified", "against", "use", "avoid"}
HEADING = """# Methods

Every explainer: what it needs, what it costs, and how its numbers are checked. Written by `python
docs/build_reference.py` from `docs/methods/*.toml`, the registry and `benchmarks/speeds.json`; `fervis list` prints the
names, and `fervis explainer=<name> --help` the settings.

*Passes* are per batch of images with T targets each, whatever the number of layers. *Checked against* links the test
that holds it. How fast methods are beside their peers: [benchmarks](../benchmarks/README.md){speed}.
"""


def facts() -> dict[str, dict[str, Any]]:
    """Return name of a method -> its facts, from all families' files."""
    tables = [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(FACTS.glob("*.toml"))]
    return {name: entry for table in tables for name, entry in table.items()}


def speeds() -> dict[str, str]:
    """Return name of a method -> its ratio to a peer, in words."""
    measured = json.loads(SPEEDS.read_text(encoding="utf-8"))["rows"] if SPEEDS.is_file() else []
    return {
        name: f"{row['ratio']:.1f} x {row['peer']}"
        for row in measured
        for name in row.get("methods", [])
        if row.get("ratio")
    }


def tests_of(entry: Mapping[str, Any]) -> list[str]:
    """Return the pytest node ids of an entry's tests."""
    verified = entry["verified"]
    return [verified] if isinstance(verified, str) else list(verified)


def page() -> str:
    """Return docs/methods.md."""
    stated, ratios = facts(), speeds()
    rows = sorted(
        map(build_methods.method_row, build_methods.explainer_names()),
        key=lambda row: (build_methods.family_order(row[1]), row[2].strip("`")),
    )
    sections: dict[str, list[Sequence[str]]] = {}
    for row in rows:
        sections.setdefault(row[1], []).append(row)
    measured = (
        "; *speed* is the peer's processor time divided by fervis's on the same work, a dash where none was measured"
    )
    heading = HEADING.format(speed=measured if ratios else "")
    return "\n".join([heading, *(section(family, of, stated, ratios) for family, of in sections.items())])


def section(
    family: str, rows: Sequence[Sequence[str]], stated: Mapping[str, Mapping[str, Any]], ratios: Mapping[str, str]
) -> str:
    """Return a family's table, and when to use each method and when not."""
    lines = [f"## {family.upper() if family == 'cam' else family.capitalize()}\n"]
    columns = ["method", "paper", "needs", "passes", "at", "of", "checked against", *(["speed"] if ratios else [])]
    lines += [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for _, _, name, _, paper, where, what in rows:
        entry = stated[name.strip("`")]
        links = ", ".join(
            f"[{words}](../{test.partition('::')[0]})" for words, test in zip_names(entry["against"], tests_of(entry))
        )
        cells = [name, paper, entry["needs"], entry["passes"], where, what, links]
        cells += [ratios.get(name.strip("`"), "-")] if ratios else []
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for _, _, name, summary, *_ in rows:
        entry = stated[name.strip("`")]
        use, avoid = lower_first(entry["use"]), lower_first(without_not(entry["avoid"]))
        lines.append(f"- {name}: {summary}. *Use it* {use} *Not* {avoid}")
    return "\n".join([*lines, ""])


def zip_names(against: str, tests: Sequence[str]) -> list[tuple[str, str]]:
    """Pair what a method is checked against with its tests; all words go with the first where the numbers differ.

    >>> zip_names("captum 1e-6; closed form", ["a.py::x", "b.py::y"])
    [('captum 1e-6', 'a.py::x'), ('closed form', 'b.py::y')]
    """
    words = [part.strip() for part in against.split(";")]
    return list(zip(words, tests, strict=True)) if len(words) == len(tests) else [(against, tests[0])]


def without_not(sentence: str) -> str:
    """Return a sentence without the word that the page puts before it.

    >>> without_not("Not to compare classes."), without_not("to compare classes.")
    ('to compare classes.', 'to compare classes.')
    """
    return sentence[4:] if sentence[:4].lower() == "not " else sentence


def lower_first(sentence: str) -> str:
    """Return a sentence that can follow another word: its first letter small, a full stop at its end."""
    first = sentence if sentence[:2].isupper() else sentence[:1].lower() + sentence[1:]
    return first.rstrip(".") + "."


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
