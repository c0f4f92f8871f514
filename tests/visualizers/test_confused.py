"""Figures of confused faces: the numbers lie where they belong, the faces and outlines are drawn, captions say both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fervis.core.faces import FER2013_CLASSES, Faces
from fervis.core.registry import build_plugin, visualizer_for
from fervis.core.results import Explanation, RegionContrasts, join_results
from fervis.visualizers.confused import ConfusedFigures
from fervis.visualizers.figures.contrast.effects import entries_by_group
from fervis.visualizers.figures.contrast.faces import outlined

REGIONS = ("hair", "mouth", "eyes", "chin")
GROUPS = ("fear taken for surprise", "fear taken for fear", "surprise taken for surprise")
FACES, SHOWN = 5, 3


def result_of(group: str, regions: tuple[str, ...] = REGIONS) -> RegionContrasts:
    generator = torch.Generator().manual_seed(0)
    count, rows = len(regions), torch.arange(FACES) + 40
    random = torch.full((count,), 0.2)
    if "hair" in regions:
        random[regions.index("hair")] = torch.nan
    effect = torch.tensor([0.1, -1.5, 0.9, -0.3])[:count]
    values = {"effect": effect, "random": random, "beyond": effect - random, "flips": torch.linspace(0, 0.6, count)}
    values |= {f"{name}/low": values[name] - 0.1 for name in ("effect", "beyond", "flips")}
    values |= {f"{name}/high": values[name] + 0.1 for name in ("effect", "beyond", "flips")}
    values |= {"flips/random": random / 2, "elsewhere": torch.full((count,), 0.1), "area": torch.full((count,), 0.1)}
    masks = torch.zeros(count, SHOWN, 48, 48, dtype=torch.bool)
    masks[:, :, 10:20, 10:30] = True
    return RegionContrasts(
        groups=(group,) * count,
        regions=regions,
        pairs=(("fear", "surprise"),) * count,
        values=values,
        clear=torch.tensor([False, True, True, False])[:count],
        clear_flips=torch.zeros(count, dtype=torch.bool),
        rows=(rows,) * count,
        margins=(torch.full((FACES,), -0.04),) * count,
        effects=(torch.full((FACES,), -1.0),) * count,
        predicted=(torch.full((FACES,), 2),) * count,
        flipped=(rows[:2],) * count,
        example_rows=torch.tensor([[41, 40, -1]]).expand(count, -1).clone(),
        images=torch.randint(0, 256, (count, SHOWN, 1, 48, 48), generator=generator, dtype=torch.uint8),
        masks=masks,
        maps=torch.randn(count, SHOWN, 48, 48, generator=generator),
        sentences=(f"Of {group}.", *[""] * (count - 1)),
    )


def explained(result: RegionContrasts, layers: int = 1, checkpoints: tuple[str, ...] = ("best",)) -> Explanation:
    per, times = len(result.regions), layers * len(checkpoints)
    none = torch.zeros(0, dtype=torch.int64)
    return Explanation(
        result=join_results([result] * times),
        faces=Faces(torch.zeros(0, 1, 48, 48, dtype=torch.uint8), none, none, none.to(torch.uint8), FER2013_CLASSES),
        layers=tuple(f"conv{number}" for _ in checkpoints for number in range(layers) for _ in range(per)),
        targets=("fear against surprise",) * (per * times),
        predictions=none,
        probabilities=torch.zeros(0, 7),
        classes=FER2013_CLASSES,
        explainer="confused",
        model="vgg8",
        dataset="synthetic",
        checkpoints=tuple(name for name in checkpoints for _ in range(per * layers)),
    )


def all_groups() -> RegionContrasts:
    return join_results([result_of(group) for group in GROUPS])


def test_the_figures_of_all_groups_and_their_captions(tmp_path: Path):
    visualizer = build_plugin("visualizer", visualizer_for("confused"), dpi=240)
    assert isinstance(visualizer, ConfusedFigures)
    regions, faces = visualizer.draw(explained(all_groups()), tmp_path)
    assert [figure.path.name for figure in (regions, faces)] == ["regions.png", "faces_conv0.png"]
    assert regions.caption.startswith(
        "Fear taken for surprise · vgg8 on synthetic. Of fear taken for surprise. Of fear"
    )
    # Hair is compared with no patches, and so is not among the regions with faces.
    assert "flip to fear without the region: mouth: 40, 41; chin: 40, 41; eyes: 40, 41." in faces.caption


def test_faces_are_drawn_with_their_pixels_under_the_outline(tmp_path: Path):
    result = all_groups()
    result.masks[:, :, :, :] = False
    _, figure = ConfusedFigures(dpi=240, regions=1).draw(explained(result), tmp_path)
    with Image.open(figure.path) as opened:
        picture = np.asarray(opened.convert("L")).astype(int)
    side, left, top = (6.5 - 0.08 - 1.25) / 6 - 0.06, 0.04 + 1.25, 0.46
    for at in range(4, 44, 5):
        dot = int((left + side * (at + 0.5) / 48) * 240), int((top + side * (at + 0.5) / 48) * 240)
        assert abs(picture[dot[1], dot[0]] - int(result.images[1, 0, 0, at, at])) <= 2  # the mouth's first face


def test_an_outline_follows_the_inner_edge_of_the_region():
    face, mask = np.zeros((6, 6, 3), np.uint8), np.zeros((6, 6), bool)
    mask[2:4, 1:5] = True
    marked = outlined(face, mask).any(2)
    whole = mask.repeat(8, 0).repeat(8, 1)
    assert not (marked & ~whole).any()
    assert marked[16, 8:40].all()  # the uppermost line of dots
    assert marked[31, 8:40].all()
    assert marked[16:32, 8].all()
    assert not marked[20:28, 12:36].any()  # the inside is the face's own
    border = np.zeros((6, 6), bool)
    border[:, :2] = True
    assert outlined(face, border).any(2)[:, 0].all()  # also where the region meets the image's edge


def test_layers_share_the_regions_and_checkpoints_have_their_own(tmp_path: Path):
    figures = ConfusedFigures(dpi=40).draw(explained(all_groups(), 2, ("best", "1")), tmp_path)
    names = ["regions_best", "faces_conv0_best", "faces_conv1_best", "regions_1", "faces_conv0_1", "faces_conv1_1"]
    assert [figure.path.stem for figure in figures] == names
    assert "· best" in figures[0].caption


def test_a_single_group_whose_intervals_are_unknown_is_drawn(tmp_path: Path):
    alone = result_of(GROUPS[0], REGIONS[:2])
    unknown = {name: values * torch.nan if "/" in name else values for name, values in alone.values.items()}
    figures = ConfusedFigures(dpi=40).draw(explained(replace(alone, values=unknown)), tmp_path)
    assert [figure.path.stem for figure in figures] == ["regions", "faces_conv0"]
    hair = result_of(GROUPS[0], REGIONS[:1])
    assert [figure.path.stem for figure in ConfusedFigures(dpi=40).draw(explained(hair), tmp_path / "b")] == ["regions"]


def test_groups_come_in_the_order_of_the_entries():
    assert list(entries_by_group(all_groups(), range(12))) == list(GROUPS)
    assert entries_by_group(all_groups(), range(12))[GROUPS[1]] == [4, 5, 6, 7]
