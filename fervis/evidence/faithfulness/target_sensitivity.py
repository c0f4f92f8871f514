"""FunnyBirds' target sensitivity: do the maps of two classes mark the parts that each of them needs more?"""

from __future__ import annotations

import torch
from torch import Tensor


def target_sensitivity(mass: Tensor, whole: Tensor, drops: Tensor, active: Tensor) -> Tensor:
    """Ask two questions of each pair of classes: does each one's map mark its own part more than the other's map does?

    A class's own part is the one whose loss costs its logit most beyond what it costs the other's. FunnyBirds (Hesse et
    al. 2023, arXiv:2308.06248) chooses pairs of classes that share parts with the image, where the network agrees; here
    the network alone says which parts are whose. Pairs of which one has no part of its own are left out.

    Args:
        mass: [N,T,P] of the map of each class in each part.
        whole: [N,T] of the map.
        drops: [N,T,P] by how much the logit of each class falls without each part.
        active: [N,P] whether the image has the part.

    Returns:
        [N,T] in [0, 1], the mean over the other classes; NaN where none makes a pair.
    """
    shares = mass / whole.where(whole > 0, 1.0)[..., None]
    beyond = drops[:, :, None] - drops[:, None]  # [N,T,T,P]: what a part costs the first class beyond the second
    beyond = beyond.masked_fill(~active[:, None, None], -torch.inf)
    lead, own = beyond.max(3, keepdim=True)
    first, second = (shares[:, :, None].expand_as(beyond), shares[:, None].expand_as(beyond))
    marked = (first.gather(3, own) > second.gather(3, own))[..., 0].double()
    pairs = (lead > 0)[..., 0] & (lead > 0)[..., 0].transpose(1, 2)
    answers = (marked + marked.transpose(1, 2)) / 2
    return answers.masked_fill(~pairs, torch.nan).nanmean(2)
