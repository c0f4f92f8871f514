"""TCAV: which concepts raise a class, by directions in a layer's space (Kim et al. 2018, arXiv:1711.11279).

A concept activation vector ``v`` is the normal of a linear classifier between a layer's outputs for images of the
concept and for random images. The score of a class is the share of its faces whose logit rises along ``v``:
``∂ logit / ∂ output · v > 0``. Both are repeated over partitions, each with other images of the concept and other
random images, and compared with directions between two sets of random images by Welch's two-sided t-test, its p-values
multiplied by the number of tests (Bonferroni). The partitions share no image: the t-test takes its samples to be
independent, and with the same concept images in each a set of random images would be called significant.

The classifier is logistic regression with the penalty ``|w|² / 2`` times ``penalty`` plus the mean loss, on outputs
divided by the root mean square of their lengths, so that the penalty means the same at every layer. It is fitted in the
space that its few images span, which holds the solution, and is therefore exact and fast at layers of any width.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from fervis.core.knobs import Above, Range, Whole
from fervis.core.layers import Layer
from fervis.core.results import ConceptScores, ExplainerOutput, join_results
from fervis.core.results.data_set_kinds import SIGNIFICANT
from fervis.core.targets import class_targets
from fervis.errors import ConfigError
from fervis.explainers.concepts.concept_sets import ConceptSets, ConceptSpec, concept_files, concept_sets
from fervis.models.batch import Batch
from fervis.models.hooks import outputs_at
from fervis.models.predict import predict
from fervis.system.progress import progress

CONCEPT_BATCH = 64
HELD_OUT = 4  # every fourth image of a set measures the accuracy


@dataclass
class Tcav:
    """Test which concepts raise the logit of each class.

    Attributes:
        concepts: ``action_units`` for all that enough training faces show, a list of them, or a folder that holds a
            folder of images per concept and one named ``random``.
        partitions: number of directions per concept, each computed from its own images.
        random: most directions between random images; their scores vary most, so that more of them sharpen the test.
        per_set: most images of a concept, and random images, per partition.
        intensity: least intensity of an action unit in a face that shows it.
        faces: most faces of a class whose logits are tested.
        penalty: weight of the classifier's penalty.
    """

    concepts: Annotated[Any, ConceptSpec()] = "action_units"
    partitions: Annotated[int, Whole(2, 500)] = 10
    random: Annotated[int, Whole(2, 500)] = 50
    per_set: Annotated[int, Whole(2)] = 40
    intensity: Annotated[float, Range(0, 1, open_low=True)] = 0.5
    faces: Annotated[int, Whole(1)] = 50
    penalty: Annotated[float, Above(0)] = 0.01
    result: ClassVar = ConceptScores
    scope: ClassVar = "network"
    takes: ClassVar = frozenset({"layers"})
    default_layer: ClassVar = "last_conv"

    def files(self) -> list[Path]:
        """Return the folder of the concepts, where there is one."""
        return concept_files(self.concepts)

    def explain(self, batch: Batch) -> ExplainerOutput:
        """Return the scores of every concept at every layer, for all classes.

        The faces of a class are those of the split that have its label, or where nothing is labelled, those that the
        network takes for it.

        Raises:
            ConfigError: a layer is the pixels, or there are too few images of a concept.
        """
        if any(layer.is_input for layer in batch.layers):
            raise ConfigError("layer=input: concepts are directions of a layer's output; expected one such as conv7.")
        generator = batch.generator("explainer/tcav")
        sets = concept_sets(self.concepts, batch, self.partitions, self.random, self.per_set, self.intensity, generator)
        faces = _faces_of_classes(batch, self.faces, generator)
        tests = len(batch.layers) * len(sets.concepts) * len(batch.classes)
        results = [self._at_layer(batch, layer, sets, faces, tests) for layer in batch.layers]
        result = join_results(results)
        names = [(layer.name, name) for layer in batch.layers for name in sets.concepts]
        numbers = {
            "significant": float((result.p_values < SIGNIFICANT).sum()),
            "tests": float(tests),
            "accuracy": float(result.accuracy.mean()),
            "cosine": float(result.cosine.mean()),
        }
        return ExplainerOutput(
            result, tuple(layer for layer, _ in names), tuple(name for _, name in names), numbers=numbers
        )

    def _at_layer(
        self, batch: Batch, layer: Layer, sets: ConceptSets, faces: list[Tensor], tests: int
    ) -> ConceptScores:
        """Return the scores of every concept at one layer."""
        count = self.partitions
        reference = _features(batch, layer, sets.random[:count])
        slopes = [_slopes(batch, layer, images, number) for number, images in enumerate(faces)]
        pairs = (_features(batch, layer, pair) for pair in sets.random[count:].split(2))
        vectors_by_chance = (concept_vector(first, second, self.penalty)[0] for first, second in pairs)
        chance = torch.stack([_scores(vector, slopes) for vector in vectors_by_chance])
        parts = []
        for images in progress(list(sets.concepts.values()), f"tcav {layer.name}", "concept", quiet=batch.quiet):
            shown = _features(batch, layer, images)
            fitted = [concept_vector(*pair, self.penalty) for pair in zip(shown, reference, strict=True)]
            vectors = torch.stack([vector for vector, _ in fitted])
            scores = torch.stack([_scores(vector, slopes) for vector in vectors])
            accuracy = sum(accuracy for _, accuracy in fitted) / count
            parts.append(_tested(scores, chance, vectors, accuracy, tests, batch.classes))
        return join_results(parts)


def concept_vector(concept: Tensor, random: Tensor, penalty: float) -> tuple[Tensor, float]:
    """Return the unit normal [D] of the classifier between features [n,D] and [m,D], pointing to the first.

    Also its accuracy on every fourth image of each, which it is not fitted to; NaN where a set has fewer than four.
    """
    from sklearn.linear_model import LogisticRegression  # here, since it takes half a second

    held = [torch.arange(len(part)) % HELD_OUT == HELD_OUT - 1 for part in (concept, random)]
    train = torch.cat([concept[~held[0]], random[~held[1]]]).double()
    labels = np.repeat([1, 0], [int((~part).sum()) for part in held])
    length = train.square().sum(1).mean().sqrt().clamp(min=1e-30)
    basis = torch.linalg.qr((train / length).T).Q  # [D,n]; the penalised solution lies in the span of the images
    classifier = LogisticRegression(C=1 / (penalty * len(train)), max_iter=10_000, tol=1e-8)
    classifier.fit((train / length @ basis).cpu().numpy(), labels)
    normal = basis @ torch.from_numpy(np.asarray(classifier.coef_)[0]).to(basis)
    offset = float(np.asarray(classifier.intercept_)[0])
    inside, outside = (
        part[mask].double() / length @ normal + offset for part, mask in zip((concept, random), held, strict=True)
    )
    hits = torch.cat([inside > 0, outside <= 0]).double()
    return (normal / normal.norm().clamp(min=1e-30)).to(concept), float(hits.mean()) if len(hits) else float("nan")


def _features(batch: Batch, layer: Layer, images: Tensor) -> Tensor:
    """Return [P,n,D] a layer's outputs for sets of images [P,n,C,H,W], flattened."""
    parts = images.flatten(0, 1).to(batch.images.device).split(CONCEPT_BATCH)
    outputs = [outputs_at(batch.model, part, [layer])[0].flatten(1).float() for part in parts]
    return torch.cat(outputs).unflatten(0, images.shape[:2])


def _faces_of_classes(batch: Batch, most: int, generator: torch.Generator) -> list[Tensor]:
    """Return up to ``most`` images [n,C,H,W] of each class."""
    labels = batch.labels.cpu()
    if not (labels >= 0).any():
        labels = torch.cat([predict(batch.model, images).argmax(1).cpu() for _, images in batch.batches()])
    order = torch.randperm(len(labels), generator=generator)
    chosen = [order[labels[order] == number][:most] for number in range(len(batch.classes))]
    if missing := [name for name, index in zip(batch.classes, chosen, strict=True) if not len(index)]:
        raise ConfigError(f"split={batch.split}: none of its faces is of the class {missing[0]}, so it has no score.")
    pools = [batch.pool[index].to(batch.images.device) for index in chosen]
    return [pool if pool.is_floating_point() else pool.float() / 255 for pool in pools]


def _slopes(batch: Batch, layer: Layer, images: Tensor, number: int) -> Tensor:
    """Return [n,D] the gradient of a class's logit with respect to a layer's output, flattened."""

    def parts() -> Iterator[Tensor]:
        for part in images.split(CONCEPT_BATCH):
            passes = batch.with_images(part, class_targets([number] * len(part))).gradients(layers=(layer,))
            yield next(passes).gradients[layer.name].flatten(1).float()

    return torch.cat(list(parts()))


def _scores(vector: Tensor, slopes: list[Tensor]) -> Tensor:
    """Return [K] the share of each class's faces whose logit rises along a direction."""
    return torch.stack([(of_class @ vector > 0).float().mean() for of_class in slopes]).cpu()


def _tested(
    scores: Tensor, chance: Tensor, vectors: Tensor, accuracy: float, tests: int, classes: tuple[str, ...]
) -> ConceptScores:
    """Return the scores [P,K] of a concept with their test against those of random directions, as one entry."""
    count = len(scores)
    means = scores.mean(0)
    reach = float(stats.t.ppf(0.975, count - 1)) * scores.std(0) / count**0.5
    cosines = vectors @ vectors.T
    return ConceptScores(
        scores=scores[None],
        random=chance[None],
        means=means[None],
        low=(means - reach).clamp(min=0)[None],
        high=(means + reach).clamp(max=1)[None],
        p_values=(_p_values(scores, chance) * tests).clamp(max=1)[None],
        accuracy=torch.tensor([accuracy], dtype=torch.float32),
        cosine=((cosines.sum() - cosines.trace()) / (count * (count - 1)))[None].cpu(),
        classes=classes,
    )


def _p_values(scores: Tensor, chance: Tensor) -> Tensor:
    """Return [K] two-sided p-values of Welch's t-test between the columns of [P,K] and [R,K].

    Where neither varies there is no variance to test by: equal ones have the value 1, others 2 / binomial(P + R, P),
    that of a permutation test in which all scores of the one exceed all of the other.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns that do not vary
        tested: Any = stats.ttest_ind(scores.double().numpy(), chance.double().numpy(), axis=0, equal_var=False)
    still = (scores == scores[0]).all(0) & (chance == chance[0]).all(0)
    extreme = 2 / math.comb(len(scores) + len(chance), len(scores))
    without_variance = torch.where(scores[0] == chance[0], 1.0, extreme)
    return torch.where(still, without_variance, torch.as_tensor(np.asarray(tested.pvalue)).float())
