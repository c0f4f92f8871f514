"""The lime package itself, as its users call it (Ribeiro, Singh and Guestrin 2016, arXiv:1602.04938; lime 0.2).

What ``lime`` is measured against. The package takes RGB pictures and starts its own progress bar and random state; here
grey faces are turned into RGB and back, the bar is off, and the random state comes from the question's seed. All else
is its own: quickshift, one call of the network for every ten samples, and one regression a label.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from lime import lime_image
from lime.wrappers.scikit_image import SegmentationAlgorithm
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from fervis.core.layers import INPUT, Layer
from fervis.core.results import HeatMaps
from fervis.core.targets import Target
from fervis.errors import ConfigError
from fervis.models.hooks import frozen
from fervis.models.masking import check_choice, class_column, read_scores
from fervis.system.console import log
from fervis.system.progress import progress

FEATURE_SELECTIONS = ("auto", "none", "forward_selection", "highest_weights", "lasso_path")


@dataclass
class LimeReference:
    """The knobs of ``lime_reference``: the package's own, with its defaults.

    Attributes:
        kernel_size: width of quickshift's Gaussian, in pixels, from 1.
        max_dist: quickshift's largest distance inside a superpixel.
        ratio: quickshift's balance of colour against place, from 0 to 1.
        num_samples: masked faces a face.
        num_features: at most so many superpixels get a weight.
        hide_color: pixel value of what is hidden; null for its superpixel's mean colour.
        kernel_width: how fast a sample's weight falls with its distance from the whole face.
        feature_selection: how the superpixels are chosen where there are more than ``num_features``.
        batch: masked faces a call of the network (the package's ``batch_size``).
    """

    kernel_size: float = 4
    max_dist: float = 200
    ratio: float = 0.2
    num_samples: int = 1000
    num_features: int = 100000
    hide_color: float | None = None
    kernel_width: float = 0.25
    feature_selection: str = "auto"
    batch: int = 10
    kind: ClassVar[str] = HeatMaps.kind
    default_layer: ClassVar[str] = INPUT
    uses_layers: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_choice("feature_selection", self.feature_selection, FEATURE_SELECTIONS)
        for name, least in (("num_samples", 2), ("num_features", 1), ("batch", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"explainer.{name}={getattr(self, name)}: expected a whole number from {least}.")
        if not self.kernel_size >= 1:
            raise ConfigError(f"explainer.kernel_size={self.kernel_size}: expected a number of pixels from 1.")
        for name in ("max_dist", "kernel_width"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"explainer.{name}={getattr(self, name)}: expected a number above 0.")
        if not 0 <= self.ratio <= 1:
            raise ConfigError(f"explainer.ratio={self.ratio}: expected a number from 0 to 1.")

    def explain(
        self, model: nn.Module, images: Tensor, target: Target, layer: Layer | None, generator: Generator
    ) -> HeatMaps:
        """Explain [N,C,H,W] images, C 1 or 3, one after the other, each from the same random state.

        The scores of each map are ``r2``, the package's own, and ``superpixels``, their number. A face in which
        quickshift finds a single superpixel gets a constant map, and that is said.
        """
        if layer is not None:
            raise ConfigError(
                f"layer={layer.name}: LIME hides parts of the face, so it works on the pixels; ask with layer=input."
            )
        if images.shape[1] not in (1, 3):
            raise ConfigError(f"images: lime takes grey or RGB, 1 or 3 channels, not {images.shape[1]}.")
        seed = int(torch.randint(2**31, (), generator=generator))
        maps = torch.zeros(len(images), *images.shape[2:])
        told = {"r2": torch.zeros(len(images)), "superpixels": torch.zeros(len(images))}
        for place, image in enumerate(progress(images, "lime_reference", "face")):
            found, label = self._ask(model, image, target[place : place + 1], seed)
            for piece, weight in found.local_exp[label]:
                maps[place][torch.from_numpy(found.segments == piece)] = float(weight)
            told["r2"][place], told["superpixels"][place] = float(found.score), len(np.unique(found.segments))
        single = int((told["superpixels"] == 1).sum())
        if single:
            log.warning(
                f"explainer.kernel_size={self.kernel_size:g}: lime's quickshift finds a single superpixel in {single} "
                f"of {len(images)} faces, whose maps are constant; a smaller one, such as 1, finds some dozens."
            )
        what = "filter's mean output" if target.classes is None else "probability"
        unit = f"weight by the lime package: what showing the superpixel adds to the {what}"
        return HeatMaps(maps.to(images.device), unit, signed=True, scores=told)

    def _ask(self, model: nn.Module, image: Tensor, target: Target, seed: int) -> tuple[Any, int]:
        """The package's ``ImageExplanation`` of one [C,H,W] image, and the label that it is of."""
        rgb = image.detach().cpu().double().expand(3, -1, -1).permute(1, 2, 0).numpy().copy()
        quickshift = SegmentationAlgorithm(
            "quickshift", kernel_size=self.kernel_size, max_dist=self.max_dist, ratio=self.ratio
        )

        def answer(pictures: NDArray[Any]) -> NDArray[Any]:
            pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2)[:, : len(image)].to(image)
            with frozen(model), torch.no_grad():
                return read_scores(model, pixels.contiguous(), target, "probability").double().cpu().numpy()

        label = class_column(target, 0, torch.from_numpy(answer(rgb[None])))
        with no_progress_bar():
            explainer: Any = lime_image.LimeImageExplainer(
                self.kernel_width, feature_selection=self.feature_selection, random_state=seed
            )
            found = explainer.explain_instance(
                rgb,
                answer,
                labels=(label,),
                top_labels=None,
                hide_color=self.hide_color,
                num_features=self.num_features,
                num_samples=self.num_samples,
                batch_size=self.batch,
                segmentation_fn=quickshift,
                random_seed=seed,
            )
        return found, label


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Run without the bar that lime draws for every image and has no switch for."""
    bar = lime_image.tqdm
    lime_image.tqdm = iter
    try:
        yield
    finally:
        lime_image.tqdm = bar
