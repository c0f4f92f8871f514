"""Extremal perturbation: the mask of a given area that serves the target best (Fong et al. 2019, arXiv:1910.08485).

The image is blurred outside of a smooth mask, and gradient ascent on the mask raises the target's logit, while the mask
is held to the area by a penalty that grows. Lengths are those of the authors' code for 224 pixels (parameters 7 pixels
apart that reach 21, blur up to 20), scaled to the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fervis.core.knobs import Choice, Range, Whole
from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.core.targets import Targets
from fervis.explainers.perturbation.smooth_masks import SmoothMasks, area_loss
from fervis.metrics.gaussian import gaussian_blur
from fervis.models.batch import Batch
from fervis.models.fast_inference import fused
from fervis.models.hooks import capture, frozen
from fervis.models.masking import masks_per_pass
from fervis.system.progress import progress

_SIDE = 224  # pixels, for which the authors' lengths are
_STEP, _SIGMA, _BLUR = 7, 21, 20  # pixels
_RATE, _MOMENTUM = 0.01, 0.9
_PENALTY, _GROWTH = 300, 1.0035


@dataclass
class ExtremalPerturbation:
    """Search the mask of a given area that preserves the target best, or whose blur deletes it best.

    Attributes:
        area: share of the image that the mask shows, or deletes.
        steps: of gradient ascent.
        variant: ``preserve``: the mask shows its area, and the target shall be high; ``delete``: its area is blurred,
            and the target shall be low.
        levels: blurs between none and the strongest; between two of them values are interpolated.
        flip: mirror the image at every second step, so that the mask does not fit one view alone.
    """

    area: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.1
    steps: Annotated[int, Whole(1)] = 800
    variant: Annotated[str, Choice("preserve", "delete")] = "preserve"
    levels: Annotated[int, Whole(2)] = 8
    flip: bool = True
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes", "filters"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Search the masks of all images and targets, 25 faces of 48x48 at once.

        The scores of each map are ``logit``, the target at the end, and ``area``, the share of the image in the mask.
        """
        count, targets = batch.targets.count, _one_each(batch.targets)
        entries = torch.arange(len(batch) * count)
        shape = batch.images.shape[2:]
        parts = entries.split(masks_per_pass(*shape))
        spare = batch.model.get_submodule(targets.layer) if targets.classes is None else batch.model

        def probe() -> Tensor:
            return _target_scores(batch.model, batch.images[:1], batch.targets[:1])

        with frozen(batch.model), fused(batch.model, probe, None, spare):
            found = [self._search(batch, some, targets, number, len(parts)) for number, some in enumerate(parts)]
        masks, scores = (torch.cat(part).unflatten(0, (len(batch), count)) for part in zip(*found, strict=True))
        unit = "part of the image that is shown" if self.variant == "preserve" else "part of the image that is blurred"
        return LayerMaps(
            {INPUT: masks.to(batch.images.device)}, unit, scores={"logit": scores, "area": masks.mean((2, 3))}
        )

    def _search(self, batch: Batch, entries: Tensor, targets: Targets, part: int, parts: int) -> tuple[Tensor, Tensor]:
        """Return the masks [M,H,W] and the targets [M] of some entries, a number each: image times T plus target."""
        images = batch.images[entries // batch.targets.count]
        height, width = images.shape[2:]
        scale = min(height, width) / _SIDE
        pyramid = blur_pyramid(images, self.levels, _BLUR * scale)
        generate = SmoothMasks(height, width, max(round(_STEP * scale), 1), _SIGMA * scale)
        parameters = torch.ones(len(images), *generate.grid).to(images).requires_grad_()
        optimizer = torch.optim.SGD([parameters], _RATE, momentum=_MOMENTUM, dampening=_MOMENTUM)
        own = targets[entries]
        column = torch.zeros_like(entries) if own.classes is not None else entries % batch.targets.count
        masks, scores, penalty = parameters, parameters, float(_PENALTY)
        name = f"extremal_perturbation {part + 1}/{parts}" if parts > 1 else "extremal_perturbation"
        for step in progress(range(self.steps), name, "step", quiet=batch.quiet):
            masks, whole = generate(parameters)
            seen = blurred(pyramid, masks if self.variant == "preserve" else 1 - masks)
            seen = seen.flip(3) if self.flip and step % 2 == 0 else seen
            scores = _target_scores(batch.model, seen, own).gather(1, column.to(seen.device)[:, None])[:, 0]
            reward = scores if self.variant == "preserve" else -scores
            loss = (penalty * area_loss(whole, self.area) - reward).sum()
            optimizer.zero_grad()
            parameters.grad = torch.autograd.grad(loss, parameters)[0]
            optimizer.step()
            parameters.data.clamp_(0, 1)
            penalty *= _GROWTH
        return masks.detach().cpu(), scores.detach().float().cpu()


def blur_pyramid(images: Tensor, levels: int, strongest: float) -> Tensor:
    """Return [N,L,C,H,W] the images under Gaussian blurs whose sigmas fall evenly from the strongest to none."""
    sigmas = [strongest * (1 - level / (levels - 1)) for level in range(levels - 1)]
    return torch.stack([*(gaussian_blur(images, sigma) for sigma in sigmas), images], 1)


def blurred(pyramid: Tensor, masks: Tensor) -> Tensor:
    """Return [N,C,H,W]: the image where a mask [N,H,W] is 1, its strongest blur where it is 0, between them a mixture.

    Values are interpolated linearly between the two nearest of the levels.
    """
    levels = pyramid.shape[1]
    share = masks[:, None] * (levels - 1) - torch.arange(levels, device=masks.device)[:, None, None]
    return torch.einsum("nlhw,nlchw->nchw", F.relu(1 - share.abs()), pyramid)


def _target_scores(model: nn.Module, images: Tensor, targets: Targets) -> Tensor:
    """Return the targets [N,T] with their gradients."""
    paths = [targets.layer] if targets.classes is None else []
    with capture(model, paths, roots=False) as captured:
        logits = model(images.clone())
    return targets.scores(logits, captured)


def _one_each(targets: Targets) -> Targets:
    """Return the targets of a batch in which each image stands once for each of its classes."""
    return targets if targets.classes is None else Targets(targets.classes.reshape(-1, 1))
