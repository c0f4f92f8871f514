"""The lime package itself, as its users call it (Ribeiro, Singh and Guestrin 2016, arXiv:1602.04938; lime 0.2).

The reference for ``lime``. The package takes RGB images and has its own progress bar and random state; here grey faces
are converted to RGB and back, the bar is off, and the random state comes from the run's seed. All else is the
package's: quickshift, one call of the network for every ten samples, and one regression per label.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from lime import lime_image
from lime.wrappers.scikit_image import SegmentationAlgorithm
from numpy.typing import NDArray

from fervis.core.knobs import Above, AtLeast, Choice, Number, Range, Whole
from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.errors import ConfigError
from fervis.models.batch import Batch
from fervis.models.hooks import frozen
from fervis.models.masking import read_scores, target_columns
from fervis.system.console import log
from fervis.system.progress import progress

FEATURE_SELECTIONS = ("auto", "none", "forward_selection", "highest_weights", "lasso_path")


@dataclass
class LimeReference:
    """Explain images by the lime package; the settings and their defaults are its own.

    Attributes:
        kernel_size: width of quickshift's Gaussian, in pixels.
        max_dist: quickshift's largest distance inside a superpixel.
        ratio: quickshift's weight of colour against position.
        num_samples: masked images per image.
        num_features: largest number of superpixels with a weight.
        hide_color: pixel value of hidden superpixels; null for their mean colours.
        kernel_width: how fast a sample's weight falls with its distance from the whole face.
        feature_selection: how superpixels are selected if there are more than ``num_features``.
        batch: masked images per call of the network (the package's ``batch_size``).
    """

    kernel_size: Annotated[float, AtLeast(1)] = 4
    max_dist: Annotated[float, Above(0)] = 200
    ratio: Annotated[float, Range(0, 1)] = 0.2
    num_samples: Annotated[int, Whole(2, 10_000_000)] = 1000
    num_features: Annotated[int, Whole(1)] = 100000
    hide_color: Annotated[float | None, Number()] = None
    kernel_width: Annotated[float, Above(0)] = 0.25
    feature_selection: Annotated[str, Choice(*FEATURE_SELECTIONS)] = "auto"
    batch: Annotated[int, Whole(1)] = 10
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes", "filters"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain images of 1 or 3 channels one by one, each from the same random state.

        The scores of each map are the package's ``r2`` and ``superpixels``, their number. An image in which quickshift
        finds a single superpixel gets a constant map, with a warning.
        """
        if batch.images.shape[1] not in (1, 3):
            raise ConfigError(f"images: lime takes grey or RGB, 1 or 3 channels, not {batch.images.shape[1]}.")
        seed = int(torch.randint(2**31, (), generator=batch.generator("explainer/lime_reference")))
        count, (height, width) = batch.targets.count, batch.images.shape[2:]
        maps = torch.zeros(len(batch), count, height, width)
        scores = {"r2": torch.zeros(len(batch), count), "superpixels": torch.zeros(len(batch), count)}
        for number in progress(range(len(batch)), "lime_reference", "face", quiet=batch.quiet):
            # One label per call: of several, the package reports the fit of the last one only.
            for index in range(count):
                explanation, label = self._explain_image(batch, number, index, seed)
                for segment, weight in explanation.local_exp[label]:
                    maps[number, index][torch.from_numpy(explanation.segments == segment)] = float(weight)
                scores["r2"][number, index] = float(explanation.score)
                scores["superpixels"][number, index] = len(np.unique(explanation.segments))
        self._warn_of_constant_maps(int((scores["superpixels"][:, 0] == 1).sum()), len(batch))
        what = "filter's mean output" if batch.targets.classes is None else "probability"
        unit = f"weight by the lime package: what showing the superpixel adds to the {what}"
        return LayerMaps({INPUT: maps.to(batch.images.device)}, unit, signed=True, scores=scores)

    def _warn_of_constant_maps(self, single: int, count: int) -> None:
        if single:
            log.warning(
                f"explainer.kernel_size={self.kernel_size:g}: lime's quickshift finds a single superpixel in {single} "
                f"of {count} faces, whose maps are constant; a smaller one, such as 1, finds some dozens."
            )

    def _explain_image(self, batch: Batch, number: int, target: int, seed: int) -> tuple[Any, int]:
        """Return the package's ``ImageExplanation`` of an image and target, and its label."""
        image = batch.images[number].detach()
        rgb = image.cpu().double().expand(3, -1, -1).permute(1, 2, 0).numpy().copy()
        quickshift = SegmentationAlgorithm(
            "quickshift", kernel_size=self.kernel_size, max_dist=self.max_dist, ratio=self.ratio
        )

        def scores_of(images: NDArray[Any]) -> NDArray[Any]:
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2)[:, : len(image)].to(image)
            with frozen(batch.model), torch.no_grad():
                scores = read_scores(batch.model, pixels.contiguous(), batch.targets, "probability")
            return scores.double().cpu().numpy()

        label = target_columns(batch.targets, number, torch.from_numpy(scores_of(rgb[None])))[target]
        with no_progress_bar():
            explainer: Any = lime_image.LimeImageExplainer(
                self.kernel_width, feature_selection=self.feature_selection, random_state=seed
            )
            explanation = explainer.explain_instance(
                rgb,
                scores_of,
                labels=(label,),
                top_labels=None,
                hide_color=self.hide_color,
                num_features=self.num_features,
                num_samples=self.num_samples,
                batch_size=self.batch,
                segmentation_fn=quickshift,
                random_seed=seed,
            )
        return explanation, label


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Run without the progress bar of lime, which has no switch."""
    bar = lime_image.tqdm
    lime_image.tqdm = iter
    try:
        yield
    finally:
        lime_image.tqdm = bar
