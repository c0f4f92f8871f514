"""Mean maps: what each method marks in each class on average, in the frame of one face."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fervis.datasets.landmarks.alignment import warp_to_frame
from fervis.datasets.landmarks.compact import LANDMARK_SIDE, shipped_landmarks
from fervis.datasets.landmarks.regions import FACE_REGIONS, landmarks_of, region_masks
from fervis.errors import RunError
from fervis.evidence.regions.region_shares import region_mass
from fervis.metrics.map_means import class_means, magnitude_shares
from fervis.reporting.run_files import read_config
from fervis.runs.study.drawing import Drawing, Drawn
from fervis.runs.study.faces import faces_loader
from fervis.runs.study.run_maps import RunMaps, has_heat_maps, read_run_maps
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
    runs = [read_run_maps(answer) for answer in answers if has_heat_maps(read_config(answer)[1])]
    if not runs:
        raise RunError(f"{drawing.title}: no part of the study gives heat maps.")
    load, classes, size = faces_loader(), runs[0].classes, tuple(runs[0].maps.shape[1:])
    regions, rows, entries = _frame_masks(*size), [], []
    for run in runs:
        maps, labels = _aligned_maps(run, load(run.config, run.rows.tolist()).images)
        means = class_means(magnitude_shares(maps), labels, torch.arange(len(classes))).nan_to_num()
        counts = torch.bincount(labels, minlength=len(classes)).tolist()
        entries += [
            {"method": run.method, "class": label, "images": count} | _strongest_region(mean, regions)
            for label, count, mean in zip(classes, counts, means, strict=True)
        ]
        left_out = len(run.maps) - len(maps)
        rows.append(GalleryRow(run.method, f"{len(maps)} images, {left_out} left out", means.float().numpy()))
    outlines = [_outlines(regions[0])] * len(classes)
    with FigureWriter(folder, drawing.dpi) as writer:
        sheet = draw_gallery(drawing.title, outlines, classes, rows, drawing.dpi)
        return Drawn([writer.save(sheet, MEAN_MAPS, _mean_caption(rows))], entries)


def _aligned_maps(run: RunMaps, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the maps of a run in the frame, of those of its images that have landmarks, and their labels."""
    points, known = landmarks_of(images)
    if not known.any():
        return run.maps, run.labels
    frame = _frame_points(*run.maps.shape[1:])
    return warp_to_frame(run.maps[known], points[known], frame), run.labels[known]


def _strongest_region(mean: Tensor, regions: Tensor) -> dict[str, Any]:
    """Return the region that a mean map [H,W] marks most beyond its area, with its share and its area."""
    shares, areas = (values[0, 0] for values in region_mass(mean[None, None], regions))
    number = int((shares - areas).nan_to_num().argmax())
    numbers = {"share": round(float(shares[number]), 3), "area": round(float(areas[number]), 3)}
    return {"region": FACE_REGIONS[number], **numbers}


def _frame_points(height: int, width: int) -> Tensor:
    """Return the landmarks [L,2] of the frame in pixels of an image of this size."""
    return torch.from_numpy(shipped_landmarks().mean) * torch.tensor([width, height]) / LANDMARK_SIDE


def _frame_masks(height: int, width: int) -> Tensor:
    """Return the regions [1,R,H,W] bool of the frame."""
    return region_masks(_frame_points(height, width)[None], height, width)


def _outlines(regions: Tensor) -> NDArray[np.uint8]:
    """Return a picture [H,W,3] of the borders between regions [R,H,W]."""
    numbers = regions.int().argmax(0)
    border = torch.zeros_like(numbers, dtype=torch.bool)
    border[1:] |= numbers[1:] != numbers[:-1]
    border[:, 1:] |= numbers[:, 1:] != numbers[:, :-1]
    grey = torch.where(border, 90, 225).to(torch.uint8)
    return grey[..., None].expand(-1, -1, 3).numpy()


def _mean_caption(rows: Sequence[GalleryRow]) -> str:
    return (
        f"Mean maps of {', '.join(row.name for row in rows)} by class, each image's map moved by its landmarks to the "
        "mean face of FER2013, whose regions the first row shows. Each method has one scale for its maps."
    )
