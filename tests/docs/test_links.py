"""Relative links of every document lead to files, and their anchors to headings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.command import ROOT

DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *(path for folder in ("docs", "experiments", "benchmarks") for path in sorted((ROOT / folder).glob("*.md"))),
]
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(document: Path):
    for link in (a or b for a, b in LINK.findall(document.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_no_document_is_an_orphan():
    linked = set()
    for document in DOCUMENTS:
        links = (a or b for a, b in LINK.findall(document.read_text(encoding="utf-8")))
        linked |= {(document.parent / link.partition("#")[0]).resolve() for link in links if "://" not in link}
    assert {path for path in DOCUMENTS if path.name != "README.md" and path not in linked} == set()
