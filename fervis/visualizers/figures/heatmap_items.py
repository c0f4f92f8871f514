"""An explanation entry by entry, in the words and on the scales of its figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fervis.core.intervals import format_number
from fervis.core.results import Explanation
from fervis.errors import RunError
from fervis.visualizers.figures.color import Scale, scale_of, to_rgb

# What a title of the reader's own may name.
TITLE_WORDS = (
    *("method", "layer", "checkpoint", "target"),
    *("label", "label_index", "row", "predicted", "model", "dataset"),
)


@dataclass(frozen=True)
class ScaledMap:
    """One map with the scale it is drawn on and what its figure says of that."""

    values: NDArray[np.float32]
    unit: str
    signed: bool
    scale: Scale
    note: str

    @property
    def extent(self) -> str:
        """The values from its first to its last colour, in words."""
        if self.constant:
            return f"{format_number(float(self.values.flat[0]))} everywhere"
        return f"{format_number(self.scale.low)} to {format_number(self.scale.high)}"

    @property
    def constant(self) -> bool:
        """Whether it has one value everywhere."""
        return bool(self.values.min() == self.values.max())

    @property
    def ticks(self) -> tuple[str, str, str]:
        """Labels of the colour bar."""
        low, high = self.scale.low, self.scale.high
        return (
            format_number(low),
            format_number((low + high) / 2) if high > low else "",
            format_number(high) if high > low else "",
        )

    def where(self) -> str:
        """Where the strongest 10 % of the pixels lie, in words."""
        strength = np.abs(self.values) if self.signed else self.values - self.values.min()
        least = np.sort(strength, axis=None)[-max(1, strength.size // 10)]
        y, x = np.nonzero((strength >= least) & (strength > 0))
        spread = float(np.hypot(x.std(), y.std()))
        tall, wide = strength.shape
        return (
            f"its strongest 10 % lie around x {x.mean():.0f}, y {y.mean():.0f} of {wide} by {tall} pixels, "
            f"{spread:.0f} pixels to either side"
        )


@dataclass(frozen=True)
class HeatmapItem:
    """One face explained: what its figure shows and says."""

    row: int
    label: str
    label_index: int
    target: str
    layer: str
    checkpoint: str  # empty where the answer is of one
    predicted: str
    probability: float
    known: bool
    face: NDArray[np.uint8]
    maps: tuple[ScaledMap, ...]
    method: str
    model: str
    dataset: str

    @property
    def mark(self) -> str:
        """Whether the prediction is the label, in a sign and a word, or nothing where the network lacks the class."""
        return "" if not self.known else " ✓ right" if self.predicted == self.label else " ✗ wrong"

    @property
    def title(self) -> str:
        """Of the figure: method, layer, class and row."""
        return f"{self.method} at {self.place} · {self.label} ({self.label_index}), face {self.row}"

    @property
    def place(self) -> str:
        """The layer, and the checkpoint where the answer is of several."""
        return f"{self.layer}, checkpoint {self.checkpoint}" if self.checkpoint else self.layer

    def titled(self, template: str) -> str:
        """The figure's title from a template of the reader's own, or the usual one where it is empty."""
        words = {name: getattr(self, name) for name in TITLE_WORDS}
        return template.format(**words) if template else self.title

    @property
    def verdict(self) -> str:
        """What the network says of the face, and what of it is explained."""
        return f"predicted {self.predicted} {self.probability:.2f}{self.mark} · explained: {self.target}"

    @property
    def short(self) -> str:
        """Of a block of the overview; with several checkpoints each map tells its own prediction."""
        if self.checkpoint:
            return f"{self.row} {self.label}"
        return f"{self.row} {self.label} → {self.predicted} {self.probability:.2f}{self.mark[:2]}"

    def caption(self) -> str:
        """A sentence that can stand in for the figure."""
        shown = self.maps[0]
        least, most = format_number(float(shown.values.min())), format_number(float(shown.values.max()))
        course = f"is {least} everywhere" if shown.constant else f"runs from {least} to {most}; {shown.where()}"
        return (
            f"Face {self.row} of {self.dataset}, labelled {self.label}, predicted {self.predicted} by {self.model} "
            f"(probability {self.probability:.2f}). The map, {self.method} at {self.place} for {self.target} as "
            f"{shown.unit}, {course}."
        )


def heatmap_items(explanation: Explanation, *, shared: bool, clip: float) -> list[HeatmapItem]:
    """The explanation entry by entry, every map with its scale.

    Args:
        explanation: N entries.
        shared: one scale for all maps, instead of each its own.
        clip: percentile of the values that gets the last colour.

    Raises:
        RunError: a map has values that are not finite.
    """
    result, faces = explanation.result, explanation.faces
    stacks = [(result.maps, result.unit)]
    if result.pixel_maps is not None:
        stacks.append((result.pixel_maps, result.pixel_unit))
    shown: list[list[ScaledMap]] = []
    for maps, unit in stacks:
        values = maps.detach().cpu().numpy()
        for row, layer, one in zip(faces.rows.tolist(), explanation.layers, values, strict=True):
            if bad := int((~np.isfinite(one)).sum()):
                raise RunError(
                    f"{explanation.explainer} of face {row} at {layer}: {bad} of {one.size} values of its map are not "
                    "finite, expected none."
                )
        common = scale_of(values, signed=result.signed, percentile=clip) if shared else None
        scales = [common or scale_of(one, signed=result.signed, percentile=clip) for one in values]
        shown.append(
            [
                ScaledMap(one, unit, result.signed, scale, _scale_note(one, scale, len(values), shared, clip))
                for one, scale in zip(values, scales, strict=True)
            ]
        )
    predictions = explanation.predictions.tolist()
    labels = [faces.classes[label] if label >= 0 else "?" for label in faces.labels.tolist()]
    return [
        HeatmapItem(
            row=int(faces.rows[i]),
            label=label,
            label_index=int(faces.labels[i]),
            target=explanation.targets[i],
            layer=explanation.layers[i],
            checkpoint=explanation.checkpoints[i] if explanation.several_checkpoints else "",
            predicted=explanation.classes[predictions[i]],
            probability=float(explanation.probabilities[i, predictions[i]]),
            known=label in explanation.classes,
            face=to_rgb(faces.images[i]),
            maps=tuple(stack[i] for stack in shown),
            method=explanation.explainer,
            model=explanation.model,
            dataset=explanation.dataset,
        )
        for i, label in enumerate(labels)
    ]


def _scale_note(values: NDArray[np.float32], scale: Scale, count: int, shared: bool, clip: float) -> str:
    """How a map was scaled, in words."""
    if shared:
        note = f"one scale for all {count} maps"
    elif values.min() == values.max():
        note = f"{format_number(float(values.flat[0]))} everywhere"
    else:
        note = f"{format_number(scale.low)} to {format_number(scale.high)}, this map's own range"
    return note if clip == 100 else f"{note}; last colour from percentile {clip:g} up"
