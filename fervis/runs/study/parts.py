"""A study: several questions, each answered on its own, whose figures are gathered in one folder under one report.

A preset names its ``parts``. Each has a ``title``, the overrides it runs with (``ask``), and which of its figures
the study keeps (``figures``: new name -> pattern). ``fig1_{}.jpg: "[0-9]*.png"`` numbers all that match, in the order
in which the part's own report shows them.

An entry with ``each`` stands for many parts: one for each combination of the values that it lists by key.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from fervis.errors import ConfigError, RunError
from fervis.reporting.run_page import write_report
from fervis.runs.artifacts import RunMetadata, atomic_run_folder, build_manifest, write_manifest
from fervis.runs.study.drawing import Drawing
from fervis.runs.study.drawings import draw_over_parts
from fervis.system.files import read_json, write_json, write_text

PART_KEYS = ("title", "ask", "figures")
STUDY_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Part:
    """One question of a study.

    Attributes:
        title: heading of its figures in the report.
        ask: the overrides it runs with.
        figures: file name in the study -> pattern of the part's own figure files.
    """

    title: str
    ask: tuple[str, ...]
    figures: Mapping[str, str]

    def overrides(self, own: Sequence[str]) -> list[str]:
        """Return the part's overrides with the user's own, which win: ``model=resnet18`` changes every part's model.

        A part that compares certain checkpoints keeps them: without them its figures would not exist.
        """
        fixed = {override_key(override) for override in self.ask if override.startswith("checkpoint=[")}
        user = [override for override in own if not _is_of_study(override) and override_key(override) not in fixed]
        replaced = {override_key(override) for override in user}
        return [*(override for override in self.ask if override_key(override) not in replaced), *user]


def override_key(override: str) -> str:
    """Return the key of an override, without the signs that add or delete it."""
    return override.lstrip("+~").partition("=")[0]


def _is_of_study(override: str) -> bool:
    """Whether an override concerns the study as a whole and not its parts."""
    return override.startswith(("experiment=", "hydra.", "hydra/", "rerun="))


def study_parts(settings: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Parse the parts of a study as its preset states them; entries that draw over the parts are left out.

    Raises:
        ConfigError: a part lacks a key or has one too many, or two parts keep a figure under one name.
    """
    parts = []
    for number, stated in enumerate(settings, 1):
        if isinstance(stated, Mapping) and "draw" in stated:
            continue
        if isinstance(stated, Mapping) and "each" in stated:
            parts += _parts_of_each(number, stated)
            continue
        if not isinstance(stated, Mapping) or set(stated) != set(PART_KEYS):
            keys = ", ".join(map(str, stated)) if isinstance(stated, Mapping) else str(stated)
            raise ConfigError(f"parts: part {number} has {keys or 'nothing'}; expected {', '.join(PART_KEYS)}.")
        parts.append(Part(str(stated["title"]), tuple(map(str, stated["ask"])), dict(stated["figures"])))
    names = [name for part in parts for name in part.figures]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"parts: {twice[0]} is kept by two parts; expected a name of its own for each figure.")
    return parts


def _parts_of_each(number: int, stated: Mapping[str, Any]) -> list[Part]:
    """Return a part for each combination of the overrides that ``each`` lists by key, such as ``explainer: [a, b]``."""
    if set(stated) != {"each", "ask"} or not isinstance(stated["each"], Mapping):
        raise ConfigError(f"parts: part {number} has {', '.join(map(str, stated))}; expected each, ask.")
    keys, lists = list(stated["each"]), list(stated["each"].values())
    chosen = [
        [override for values in some for override in values] for some in product(*map(_option_lists, keys, lists))
    ]
    return [Part(" ".join(some), (*map(str, stated["ask"]), *some), {}) for some in chosen]


def _option_lists(key: str, values: Sequence[Any]) -> list[list[str]]:
    """Return the overrides of each value of a key; several in one text are separated by blanks."""
    return [f"{key}={value}".split() for value in values]


def collect_figures(
    parts: Sequence[Part],
    answers: Sequence[Path],
    folder: Path,
    record: RunMetadata,
    drawings: Sequence[Drawing] = (),
) -> Path:
    """Write the study's folder: the parts' figures by their new names, their numbers, one report.

    Args:
        parts: the questions.
        answers: the run folder of each.
        folder: the run folder of the study; complete when ``summary.json`` stands in it.
        record: metadata of the run.
        drawings: figures over several parts, which come first.

    Raises:
        RunError: a part has no figure that a pattern asks for.
    """
    with atomic_run_folder(folder) as staging:
        figures: list[dict[str, str]] = []
        numbers: dict[str, float] = {}
        inputs: dict[str, str] = {}
        entries: list[dict[str, Any]] = []
        for drawing in drawings:
            drawn = draw_over_parts(drawing, answers, staging / "figures")
            entries += [dict(entry) for entry in drawn.entries]
            numbers |= drawn.numbers
            figures += [
                {"file": f"figures/{figure.path.name}", "caption": figure.caption, "section": drawing.title}
                for figure in drawn.figures
            ]
        for part, answer in zip(parts, answers, strict=True):
            of_part = read_json(answer / "summary.json")
            inputs |= read_json(answer / "manifest.json")["inputs"]
            copied = [
                figure
                for name, pattern in part.figures.items()
                for figure in _copied_figures(name, pattern, of_part, answer, staging)
            ]
            figures += [{**figure, "section": part.title} for figure in copied]
            if not entries:  # a drawing with a table has the numbers of all parts
                numbers |= {f"{answer.name}/{name}": value for name, value in of_part["numbers"].items()}
        summary = {
            "title": f"Study of {record.card.config['model']['name']} on {record.card.config['dataset']['name']}",
            "sections": [
                {"title": part.title, "ask": list(part.ask), "run": answer.name}
                for part, answer in zip(parts, answers, strict=True)
            ],
            "entries": entries,
            "numbers": numbers,
            "figures": figures,
        }
        config = yaml.safe_dump(record.card.config, sort_keys=False, allow_unicode=True)
        write_text(staging / "config.yaml", config)
        write_json(staging / "summary.json", summary)
        write_manifest(staging, build_manifest(record, config, inputs))
        write_report(staging)
    return folder


def _copied_figures(
    name: str, pattern: str, summary: Mapping[str, Any], answer: Path, staging: Path
) -> list[dict[str, str]]:
    """Copy the figures that a pattern names, in the order of the part's own report; their files and captions."""
    matching = [figure for figure in summary["figures"] if fnmatch(Path(figure["file"]).name, pattern)]
    if not matching:
        known = ", ".join(Path(figure["file"]).name for figure in summary["figures"]) or "none"
        raise RunError(f"{answer.name} has no figure {pattern} to be {name}; it has {known}.")
    copied = []
    for number, figure in enumerate(matching if "{}" in name else matching[:1]):
        target = staging / "figures" / name.replace("{}", str(number))
        target.parent.mkdir(exist_ok=True)
        _copy_figure(answer / figure["file"], target)
        copied.append({"file": f"figures/{target.name}", "caption": figure["caption"]})
    return copied


def _copy_figure(source: Path, target: Path) -> None:
    """Copy a picture, as JPEG where the new name says so; the same picture gives the same bytes."""
    if target.suffix not in (".jpg", ".jpeg"):
        shutil.copyfile(source, target)
        return
    from PIL import Image

    with Image.open(source) as picture:
        dpi = picture.info.get("dpi", (300, 300))
        picture.convert("RGB").save(target, quality=STUDY_JPEG_QUALITY, subsampling=0, dpi=dpi)
