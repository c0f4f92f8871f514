"""The entries of an explanation as their figures show them: scaled maps and text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fervis.core.intervals import format_number
from fervis.core.results import Explanation
from fervis.errors import RunError
from fervis.visualizers.figures.color import Scale, is_constant, scale_of, to_rgb

# What the template of a title may name.
TITLE_WORDS = (
    *("method", "layer", "checkpoint", "target"),
    *("label", "label_index", "row", "predicted", "model", "dataset"),
)


class TitleTemplate:
    """The constraint of a title: text that names some of ``TITLE_WORDS`` in braces."""

    def allows(self, value: Any) -> bool:
        """Whether the value is such a text."""
        try:
            return isinstance(value, str) and value.format(**dict.fromkeys(TITLE_WORDS, "")) is not None
        except (KeyError, IndexError, ValueError):
            return False

    def __str__(self) -> str:
        return f"text that names some of {', '.join(f'{{{word}}}' for word in TITLE_WORDS)}"


@dataclass(frozen=True)
class ScaledMap:
    """One map with the scale it is drawn on.

    Attributes:
        values: [H,W], each the same where the map is constant up to rounding.
        unit: what a value is.
        signed: whether 0 is the middle of the scale.
        scale: which value gets which colour.
        note: how the map was scaled, in words.
        constant: whether the map has one value everywhere, up to rounding.
    """

    values: NDArray[np.float32]
    unit: str
    signed: bool
    scale: Scale
    note: str
    constant: bool

    @property
    def extent(self) -> str:
        """The map's range in words."""
        return format_extent(self.values)

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
        """Describe where the strongest 10 % of the pixels are."""
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
    """One face explained: what its figure shows and its text."""

    row: int
    label: str
    label_index: int
    target: str
    layer: str
    checkpoint: str  # empty where the run is of one
    predicted: str  # empty where it is not known
    probability: float
    known: bool
    face: NDArray[np.uint8]
    maps: tuple[ScaledMap, ...]
    method: str
    model: str
    dataset: str
    name: str = ""  # of the face's file; empty where the data set has none
    sentence: str = ""  # description of the map's evidence

    @property
    def labelled(self) -> bool:
        """Whether the data set states a class for the face."""
        return self.label_index >= 0

    @property
    def mark(self) -> str:
        """Whether the prediction is the label, as a sign and a word; empty if the network does not have the class."""
        return "" if not self.known else " ✓ right" if self.predicted == self.label else " ✗ wrong"

    @property
    def title(self) -> str:
        """Of the figure: method, layer, class and row."""
        of = f"{self.label} ({self.label_index}), face {self.row}" if self.labelled else self.name or f"face {self.row}"
        return f"{self.method} at {self.place} · {of}"

    @property
    def place(self) -> str:
        """The layer, and the checkpoint where the run is of several."""
        return f"{self.layer}, checkpoint {self.checkpoint}" if self.checkpoint else self.layer

    def titled(self, template: str) -> str:
        """Return the figure's title from a template, or the usual one where it is empty."""
        words = {name: getattr(self, name) for name in TITLE_WORDS}
        return template.format(**words) if template else self.title

    @property
    def verdict(self) -> str:
        """The network's prediction for the face, where it is known, and the explained target."""
        predicted = f"predicted {self.predicted} {self.probability:.2f}{self.mark} · " if self.predicted else ""
        return f"{predicted}explained: {self.target}"

    @property
    def short(self) -> str:
        """Title of a block of the overview; with several checkpoints each map has its own prediction."""
        if not self.predicted:
            return self.name or f"{self.row}"
        label = self.label if self.labelled else self.name or "?"
        if self.checkpoint:
            return f"{self.row} {label}"
        return f"{self.row} {label} → {self.predicted} {self.probability:.2f}{self.mark[:2]}"

    def caption(self) -> str:
        """Return a sentence that can stand in for the figure."""
        main = self.maps[0]
        label = f"labelled {self.label}" if self.labelled else "without a label"
        course = f"is constant, {main.extent}" if main.constant else f"runs from {main.extent}; {main.where()}"
        return (
            f"Face {self.row} of {self.dataset}{f' ({self.name})' if self.name else ''}, "
            f"{label}, predicted {self.predicted} by {self.model} "
            f"(probability {self.probability:.2f}). The map, {self.method} at {self.place} for {self.target} as "
            f"{main.unit}, {course}.{f' {self.sentence}' if self.sentence else ''}"
        )


def heatmap_items(explanation: Explanation, *, shared: bool, clip: float) -> list[HeatmapItem]:
    """Return the entries of an explanation, every map with its scale.

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
    scaled: list[list[ScaledMap]] = []
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
        scaled.append(
            [
                _scaled_map(one, unit, scale, f"one scale for all {len(values)} maps" if shared else "", clip)
                for one, scale in zip(values, scales, strict=True)
            ]
        )
    predictions = explanation.predictions.tolist()
    labels = faces.label_names()
    return [
        HeatmapItem(
            row=int(faces.rows[i]),
            label=label,
            label_index=int(faces.labels[i]),
            target=explanation.targets[i],
            layer=explanation.layers[i],
            checkpoint=explanation.checkpoints[i] if explanation.several_checkpoints else "",
            predicted=explanation.classes[predictions[i]] if predictions[i] >= 0 else "",
            probability=float(explanation.probabilities[i, predictions[i]]) if predictions[i] >= 0 else math.nan,
            known=label in explanation.classes,
            face=to_rgb(faces.images[i]),
            maps=tuple(stack[i] for stack in scaled),
            method=explanation.explainer,
            model=explanation.model,
            dataset=explanation.dataset,
            name=faces.names[i] if faces.names else "",
            sentence=explanation.sentences[i] if explanation.sentences else "",
        )
        for i, label in enumerate(labels)
    ]


def format_extent(values: NDArray[np.float32]) -> str:
    """Format the range of values, or their one value where they differ by rounding alone."""
    if is_constant(values):
        return f"{format_number(float(values.mean(dtype=np.float64)))} everywhere"
    return f"{format_number(float(values.min()))} to {format_number(float(values.max()))}"


def _scaled_map(values: NDArray[np.float32], unit: str, scale: Scale, shared: str, clip: float) -> ScaledMap:
    constant = is_constant(values)
    if constant:  # flat up to rounding
        values = np.full_like(values, values.mean(dtype=np.float64))
    note = shared or _own_scale_note(values, scale, constant)
    if clip < 100:
        note += f"; last colour from percentile {clip:g} up"
    return ScaledMap(values, unit, scale.signed, scale, note, constant)


def _own_scale_note(values: NDArray[np.float32], scale: Scale, constant: bool) -> str:
    """Describe the scale of one map: where the colours end, and the map's range where that is another."""
    extent = format_extent(values)
    if constant:
        return f"constant: {extent}"
    colours = f"{format_number(scale.low)} to {format_number(scale.high)}"
    if colours == extent:
        return f"{extent}, this map's own range"
    return f"colours from {colours}; the map runs from {extent}"
