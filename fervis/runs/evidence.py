"""Score the maps of a run by its measures of evidence, with a random map and an edge map as baselines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn

from fervis.core.intervals import Interval
from fervis.core.layers import find_layer
from fervis.core.results import Explanation, HeatMaps
from fervis.core.targets import Targets, class_targets
from fervis.errors import ConfigError
from fervis.evidence.baselines import BASELINES
from fervis.evidence.measured import measured
from fervis.evidence.protocol import ExplainAgain
from fervis.explainers.explain import explain_batch
from fervis.metrics.bootstrap import RESAMPLES, interval_ends, resampled_counts
from fervis.models.batch import Batch
from fervis.runs.inputs import LoadedCheckpoint, RunInputs
from fervis.runs.setup import RunSetup, image_tensor

Scores = dict[str, Tensor]


@dataclass(frozen=True)
class Group:
    """The entries of one checkpoint and layer: N images with T targets each, image by image.

    Attributes:
        number: position of the group among the groups of an explanation.
        loaded: the checkpoint.
        layer: position of the layer among the run's layers.
        entries: positions of the group's entries.
    """

    number: int
    loaded: LoadedCheckpoint
    layer: int
    entries: slice


def check_measures(setup: RunSetup, has_truth: bool) -> None:
    """Refuse measures that have nothing to score, or need a ground truth that the data set does not have.

    Raises:
        ConfigError: the explainer gives no maps, or the data set has no truth.
    """
    for name, measure in setup.evidence.items():
        if setup.explainer.result is not HeatMaps:
            raise ConfigError(f"evidence={name}: it scores heat maps, and explainer={setup.explainer_name} gives none.")
        if "truth" in measure.needs and not has_truth:
            dataset = setup.config.dataset["name"]
            raise ConfigError(
                f"evidence={name}: it needs to know which pixels matter, and dataset={dataset} does not; ask with "
                "dataset=synthetic."
            )


def score_maps(setup: RunSetup, inputs: RunInputs, explanation: Explanation) -> Scores:
    """Score every map of an explanation, and the baselines on the same images.

    Returns:
        ``<measure>`` and ``<measure>/<baseline>`` -> [entries] float32.
    """
    scores: Scores = {}
    for group in _groups(inputs, explanation):
        batch, maps = _batch_of(setup, explanation, group)
        explain_again = _explain_again(setup, batch)
        for column, values in measured(setup.evidence, batch, maps, explain_again).items():
            of_entries = scores.setdefault(column, torch.full((len(explanation.layers),), math.nan))
            of_entries[group.entries] = values.flatten()
    return scores


def evidence_metrics(explanations: Iterable[Explanation], seed: int) -> dict[str, float]:
    """Return the mean of each score over images with its 95 % bootstrap interval, by checkpoint and layer.

    Images are resampled, not entries: the targets of one image are no independent observations. Baselines have a mean
    and no interval.

    Args:
        explanations: one or, of a run in chunks, several, with the scores of their entries.
        seed: root of the bootstrap's randomness.
    """
    rows: dict[tuple[str, str], list[Tensor]] = {}
    values: dict[tuple[str, str], dict[str, list[Tensor]]] = {}
    for explanation in explanations:
        checkpoints = explanation.checkpoints or ("",) * len(explanation.layers)
        keys = list(zip(checkpoints, explanation.layers, strict=True))
        for key in dict.fromkeys(keys):
            entries = torch.tensor([other == key for other in keys])
            rows.setdefault(key, []).append(explanation.faces.rows[entries])
            for name, scores in explanation.evidence.items():
                values.setdefault(key, {}).setdefault(name, []).append(scores[entries])
    metrics: dict[str, float] = {}
    several_checkpoints, several_layers = (len({key[part] for key in rows}) > 1 for part in (0, 1))
    for (checkpoint, layer), columns in values.items():
        prefix = f"{checkpoint}/" * several_checkpoints + f"{layer}/" * several_layers
        for name, parts in columns.items():
            mean = image_mean(torch.cat(parts), torch.cat(rows[checkpoint, layer]), seed)
            baseline = name.rpartition("/")[2] in BASELINES
            ends = {} if baseline else {"/low": mean.low, "/high": mean.high}
            metrics |= {f"{prefix}{name}{end}": value for end, value in {"": mean.value, **ends}.items()}
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def image_mean(values: Tensor, rows: Tensor, seed: int) -> Interval:
    """Return the mean over images of each image's mean over its entries, with the bootstrap interval over images.

    Args:
        values: [E] one score per entry; NaN where there is none.
        rows: [E] the image of each entry.
        seed: of the resampling.
    """
    known = values.isfinite()
    images, index = rows[known].unique(return_inverse=True)
    sums = torch.zeros(len(images), dtype=torch.float64).index_add_(0, index, values[known].double())
    means = sums / torch.bincount(index, minlength=len(images))
    if len(means) < 2:
        return Interval(float(means.mean()))
    generator = Generator().manual_seed(seed)
    draws = [counts @ means / len(means) for counts in resampled_counts(len(means), RESAMPLES, generator)]
    return Interval(float(means.mean()), *interval_ends(torch.cat(draws)))


def with_scores(explanation: Explanation, scores: Mapping[str, Tensor]) -> Explanation:
    """Return the explanation with the scores of its entries."""
    return replace(explanation, evidence=dict(scores)) if scores else explanation


def _groups(inputs: RunInputs, explanation: Explanation) -> list[Group]:
    """Return the groups of entries, which are listed checkpoint by checkpoint and layer by layer, equally many each."""
    pairs = [(loaded, layer) for loaded in inputs.checkpoints for layer in range(len(inputs.layers))]
    size = len(explanation.layers) // len(pairs)
    return [
        Group(number, loaded, layer, slice(number * size, (number + 1) * size))
        for number, (loaded, layer) in enumerate(pairs)
    ]


def _batch_of(setup: RunSetup, explanation: Explanation, group: Group) -> tuple[Batch, Tensor]:
    """Return the images of a group, each once, with their targets, and their maps [N,T,H,W]."""
    rows = explanation.faces.rows[group.entries].tolist()
    count = max(1, sum(1 for row in rows if row == rows[0]))
    first = torch.arange(group.entries.start, group.entries.stop, count)
    faces = explanation.faces.take(first)
    names = explanation.targets[group.entries]
    loaded = group.loaded.batch
    batch = replace(
        loaded,
        images=image_tensor(faces, setup),
        layers=(loaded.layers[group.layer],),
        targets=_targets(names, count, loaded),
        truth=faces.truth,
    )
    maps = explanation.result.maps[group.entries].unflatten(0, (len(first), count))
    return batch, maps.to(batch.images.device)


def _targets(names: Sequence[str], count: int, batch: Batch) -> Targets:
    if names[0] not in batch.classes:  # a filter, the same for every image
        layer, _, _ = names[0].rpartition("/")
        path = find_layer(batch.model, layer, batch.images[:1]).path
        return Targets(layer=path, filters=tuple(int(name.rpartition("/")[2]) for name in names[:count]), name=layer)
    numbers = {name: index for index, name in enumerate(batch.classes)}
    return class_targets(torch.tensor([numbers[name] for name in names]).unflatten(0, (-1, count)))


def _explain_again(setup: RunSetup, batch: Batch) -> ExplainAgain:
    def explain_again(
        images: Tensor | None = None, model: nn.Module | None = None, *, seed: int | None = None
    ) -> Tensor:
        other = batch if model is None else batch.with_model(model)
        if images is not None:
            other = other.with_images(images, batch.targets.repeat(len(images) // len(batch)))
        if seed is not None:
            other = replace(other, seed=seed)
        maps = explain_batch(setup.explainer, other).result
        assert isinstance(maps, HeatMaps)
        return maps.maps.unflatten(0, (len(other), batch.targets.count))

    return explain_again
