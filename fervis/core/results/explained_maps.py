"""Heat maps with the images, layers and targets that they are of: what ``fervis.explain`` returns."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fervis.core.faces import Faces
from fervis.core.intervals import format_number
from fervis.core.results.explanation import ExplainerOutput, Explanation
from fervis.core.results.heat_maps import HeatMaps
from fervis.core.results.result import SHARED, take_from_result
from fervis.core.results.tables import data_frame
from fervis.errors import ConfigError

MOST_SHOWN = 12
"""Maps that a notebook shows by itself."""
_NOTEBOOK_DPI = 110


@dataclass(frozen=True, repr=False)
class ExplainedMaps(HeatMaps):
    """Heat maps that show themselves, as figures, tables and files.

    Attributes:
        layers: N layer names, ``input`` for the pixels.
        targets: N names of what is explained: a class, or ``conv7/4`` for a filter.
        rows: [N] int64, number of each entry's image.
        images: number of an image -> [C,H,W], as it was given; without an image that is not known.
        explainer: name of the method.
    """

    layers: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    rows: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    images: Annotated[dict[int, Tensor], SHARED] = field(default_factory=dict)
    explainer: Annotated[str, SHARED] = ""

    @classmethod
    def join(cls, results: Sequence[HeatMaps]) -> HeatMaps:
        """Refuse to join, since images of several results may have the same number."""
        raise ConfigError("join: the results are of several calls; expected one call of fervis.explain for all images.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.description()})"

    def description(self) -> str:
        """Return the method, how many maps there are of what, and their unit and range."""
        layers, images = len(set(self.layers)), len(set(self.rows.tolist()))
        counts = {"layer": layers, "image": images, "target": len(self.maps) // max(1, layers * images)}
        parts = [f"{count} {what}{'s' * (count != 1)}" for what, count in counts.items()]
        height, width = self.maps.shape[-2:]
        extent = [format_number(float(end)) for end in (self.maps.min(), self.maps.max())] if self.maps.numel() else []
        ends = f", {' to '.join(extent)}" if extent else ""
        return f"{self.explainer}: {' × '.join(parts)}, maps of {height} × {width}; {self.unit}{ends}"

    def plot(self, images: Tensor | NDArray[Any] | None = None, title: str = "", **settings: Any) -> Any:
        """Draw the maps as the heat-map visualizer does: one map with its overlay, or the first page of the overview.

        Args:
            images: [I,C,H,W] pictures to draw instead of those that were explained, one per image: uint8, or float.
                Floats beyond [0, 1] are stretched over their range.
            title: of the figure; empty for the usual one.
            **settings: of the visualizer, as in ``conf/visualizer/heatmap.yaml``: ``colormap``, ``scale``, ``dpi``.

        Returns:
            A matplotlib figure, which a notebook shows.

        Raises:
            ConfigError: an unknown setting, or images that are missing or of another number or size.
        """
        from fervis.core.registry import build_plugin, visualizer_for

        visualizer = build_plugin("visualizer", visualizer_for(self.kind), **settings)
        return visualizer.figure(self._explanation(images), title)

    def to_dataframe(self) -> Any:
        """Return a pandas table with a row per map: its image, layer and target, its range and sum, and its scores.

        Raises:
            ConfigError: pandas is not installed.
        """
        flat = self.maps.detach().cpu().flatten(1).double()
        columns = {"image": self.rows.tolist(), "layer": list(self.layers), "target": list(self.targets)}
        numbers = {"lowest": flat.amin(1), "highest": flat.amax(1), "sum": flat.sum(1), **(self.scores or {})}
        return data_frame(columns | {name: values.cpu().numpy() for name, values in numbers.items()})

    def save(self, path: str | Path) -> Path:
        """Write the result as one ``.npz`` file, which ``fervis.load_result`` reads, and return its path."""
        from fervis.core.results.result_files import save_maps_file

        return save_maps_file(self, Path(path))

    def _repr_html_(self) -> str:
        """Return a picture of the first maps and what they are, for a notebook; nothing is loaded from elsewhere."""
        about = f"<p>{html.escape(self.description())}</p>"
        if not self.images or not len(self.maps) or not self.maps.isfinite().all():
            return about
        shown = take_from_result(self, torch.arange(min(MOST_SHOWN, len(self.maps))))
        more = f"<p>The first {MOST_SHOWN} are shown.</p>" if len(self.maps) > MOST_SHOWN else ""
        return f"{about}{shown.plot(dpi=_NOTEBOOK_DPI)._repr_html_()}{more}"

    def _explanation(self, images: Tensor | NDArray[Any] | None) -> Explanation:
        """Return what a visualizer draws; nothing is known of labels and predictions."""
        numbers = sorted(set(self.rows.tolist()))
        if images is None:
            missing = [number for number in numbers if number not in self.images]
            if missing:
                raise ConfigError(f"images: image {missing[0]} is not in the result; expected plot(images=...).")
            given = torch.stack([self.images[number].detach() for number in numbers])
        else:
            given = torch.as_tensor(images).detach()
            expected = [len(numbers), "C", *self.maps.shape[-2:]]
            if given.ndim != 4 or [len(given), "C", *given.shape[-2:]] != expected:
                wanted = ",".join(map(str, expected))
                raise ConfigError(f"images: expected one per image, [{wanted}], not {list(given.shape)}.")
        pictures = as_pictures(given)[torch.searchsorted(torch.tensor(numbers), self.rows.cpu())]
        count = len(self.maps)
        unknown = torch.full((count,), -1)
        splits = torch.zeros(count, dtype=torch.uint8)
        names = tuple(f"image {number}" for number in self.rows.tolist())
        return Explanation(
            result=self,
            faces=Faces(pictures, unknown, self.rows.cpu(), splits, classes=(), names=names),
            layers=self.layers,
            targets=tuple(f"class {name}" if name.isdigit() else name for name in self.targets),
            predictions=unknown,
            probabilities=torch.zeros(count, 0),
            classes=(),
            explainer=self.explainer,
            model="",
            dataset="",
        )


def as_pictures(images: Tensor) -> Tensor:
    """Return images [N,C,H,W] as uint8 with one or three channels, for figures.

    Floats in [0, 1] are shown as they are; others are stretched from the smallest value of all images to the largest.
    Of another number of channels the mean is shown.
    """
    images = images.cpu()
    if images.shape[1] not in (1, 3):
        images = images.double().mean(1, keepdim=True)
    if images.dtype == torch.uint8:
        return images
    values = images.double()
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        values = (values - low) / max(high - low, np.finfo(np.float64).tiny)
    return (values * 255).round().to(torch.uint8)


def named_result(output: ExplainerOutput, images: Tensor, explainer: str) -> Any:
    """Return an explainer's result; heat maps with the layers, targets and images that they are of.

    Args:
        output: of the explainer.
        images: [I,C,H,W], those explained.
        explainer: name of the method.
    """
    if not isinstance(output.result, HeatMaps) or output.images is None:
        return output.result
    return ExplainedMaps(
        **{one.name: getattr(output.result, one.name) for one in fields(HeatMaps)},
        layers=output.layers,
        targets=output.targets,
        rows=output.images,
        images=dict(enumerate(images)),
        explainer=explainer,
    )
