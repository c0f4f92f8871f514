"""The table of methods in README.md is what the registry says, with a small picture of each method."""

from __future__ import annotations

from types import ModuleType

import pytest
from PIL import Image
from support.docs_scripts import docs_script


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    return docs_script("build_methods")


def test_the_table_of_methods_is_that_of_the_registry(builder: ModuleType):
    text = builder.README.read_text(encoding="utf-8")
    written = text.split(builder.BEGIN)[1].split(builder.END)[0].strip()
    assert written == builder.table(), "python docs/build_methods.py --table writes it"


def test_every_method_has_a_small_thumbnail(builder: ModuleType):
    files = {path.stem: path for path in builder.THUMBNAILS.glob("*.png")}
    assert set(files) == set(builder.explainer_names())
    assert sum(path.stat().st_size for path in files.values()) < 600_000
    for path in files.values():
        with Image.open(path) as picture:
            assert picture.height == builder.HEIGHT


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ("Absolute gradient (Simonyan et al. 2013)", ("Absolute gradient", "Simonyan et al. 2013")),
        ("outputs of a layer", ("Outputs of a layer", "")),
        ("an image (48 pixels) of a face", ("An image (48 pixels) of a face", "")),
    ],
)
def test_a_summary_is_split_from_its_paper(builder: ModuleType, summary: str, expected: tuple[str, str]):
    assert builder.split_paper(summary) == expected
