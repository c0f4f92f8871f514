"""Mean maps: what each method marks in each class on average, in the frame of one face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fervis.core.registry import plugin_class
from fervis.core.results import HeatMaps
from fervis.datasets.landmarks.alignment import warp_to_frame
from fervis.datasets.landmarks.compact import LANDMARK_SIDE, shipped_landmarks
from fervis.datasets.landmarks.regions import FACE_REGIONS, landmarks_of, region_masks
from fervis.errors import RunError
from fervis.evidence.regions.region_shares import region_mass
from fervis.reporting.run_files import read_config
from fervis.runs.study.drawing import Drawing, Drawn
from fervis.runs.study.faces import faces_loader
from fervis.visualizers.figures.figure_writer import FigureWriter
from fervis.visualizers.figures.study.gallery import GalleryRow, draw_gallery

MEAN_MAPS = "mean_maps"


def draw_mean_maps_of(drawing: Drawing, answers: Sequence[Path], folder: Path) -> Drawn:
    """Draw the mean map of each class by each method, every map moved to the mean face of FER2013.

    Each map counts by the shares of its magnitudes, so that no image outweighs another. Images without landmarks of
    their own are left out, unless none has any: then maps are averaged as they are.

    Args:
        drawing: the figure.
        answers: run folders of the parts.
        folder: where the figure is written.

    Raises:
        RunError: no part gives heat maps.
    """
    load, rows, entries = faces_loader(), [], []
    classes: tuple[str, ...] = ()
    for answer in answers:
        config = read_config(answer)[1]
        name = str(config["explainer"]["name"])
        if plugin_class("explainer", name).result is not HeatMaps:
            continue
        maps, labels, classes, left_out = _aligned_maps(answer, load(config, _rows(answer)).images)
        means = class_means(maps, labels, len(classes))
        entries += [
            _mean_map_entry(name, label, means[number], int((labels == number).sum()))
            for number, label in enumerate(classes)
        ]
        rows.append(GalleryRow(name, f"{len(labels)} images, {left_out} left out", means.float().numpy()))
    if not rows:
        raise RunError(f"{drawing.title}: no part of the study gives heat maps.")
    size = rows[0].maps.shape[1:]
    outlines = [_outlines(int(size[0]), int(size[1]))] * len(classes)
    with FigureWriter(folder, drawing.dpi) as writer:
        sheet = draw_gallery(drawing.title, outlines, classes, rows, drawing.dpi)
        return Drawn([writer.save(sheet, MEAN_MAPS, _mean_caption(rows))], entries)


def class_means(maps: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the mean [K,H,W] float64 of each class's maps [N,H,W], each by the shares of its magnitudes.

    Maps of zeros are left out; the mean of a class without maps is 0.
    """
    magnitudes = maps.double().abs()
    shares = magnitudes / magnitudes.sum((1, 2), keepdim=True)
    return torch.stack([shares[labels == number].nanmean(0) for number in range(classes)]).nan_to_num()


def _rows(answer: Path) -> list[int]:
    with np.load(answer / "arrays.npz", allow_pickle=False) as arrays:
        return arrays["rows"].tolist()


def _aligned_maps(answer: Path, images: Tensor) -> tuple[Tensor, Tensor, tuple[str, ...], int]:
    """Return a run's maps in the frame, their labels, the classes, and how many maps are left out."""
    with np.load(answer / "arrays.npz", allow_pickle=False) as arrays:
        maps, labels = torch.from_numpy(arrays["maps"]), torch.from_numpy(arrays["labels"])
        classes = tuple(str(name) for name in arrays["classes"])
    points, known = landmarks_of(images)
    if not known.any():
        return maps, labels, classes, 0
    scale = torch.tensor([maps.shape[2], maps.shape[1]]) / LANDMARK_SIDE
    frame = torch.from_numpy(shipped_landmarks().mean) * scale
    aligned = warp_to_frame(maps[known], points[known], frame)
    return aligned, labels[known], classes, int((~known).sum())


def _mean_map_entry(method: str, label: str, mean: Tensor, images: int) -> Mapping[str, Any]:
    """Return a row of the table: the region that a mean map marks most beyond its area."""
    masks = _frame_masks(*(int(side) for side in mean.shape))
    shares, areas = (values[0, 0] for values in region_mass(mean[None, None], masks))
    region = int((shares - areas).nan_to_num().argmax())
    return {
        "method": method,
        "class": label,
        "images": images,
        "region": FACE_REGIONS[region],
        "share": round(float(shares[region]), 3),
        "area": round(float(areas[region]), 3),
    }


def _frame_masks(height: int, width: int) -> Tensor:
    """Return the regions [1,R,H,W] bool of the frame."""
    scale = torch.tensor([width, height]) / LANDMARK_SIDE
    return region_masks(torch.from_numpy(shipped_landmarks().mean)[None] * scale, height, width)


def _outlines(height: int, width: int) -> NDArray[np.uint8]:
    """Return a picture [H,W,3] of the borders between the regions of the frame."""
    numbers = _frame_masks(height, width)[0].int().argmax(0)
    border = torch.zeros(height, width, dtype=torch.bool)
    border[1:] |= numbers[1:] != numbers[:-1]
    border[:, 1:] |= numbers[:, 1:] != numbers[:, :-1]
    grey = torch.where(border, 90, 225).to(torch.uint8)
    return grey[..., None].expand(-1, -1, 3).numpy()


def _mean_caption(rows: Sequence[GalleryRow]) -> str:
    return (
        f"Mean maps of {', '.join(row.name for row in rows)} by class, each image's map moved by its landmarks to the "
        "mean face of FER2013, whose regions the first row shows. Each method has one scale for its maps."
    )
