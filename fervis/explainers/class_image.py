"""Class images: the inputs to which a network gives the highest logit of each class (Simonyan et al. 2013).

The classes climb together through the whole network, from logits rather than probabilities: a probability can also be
raised by lowering the other classes (arXiv:1312.6034, section 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fervis.contracts import Inquiry
from fervis.engines.climbing import Climbing, climbed
from fervis.engines.comparison import chosen_of, compared
from fervis.engines.objectives import class_values
from fervis.engines.passes import undisturbed
from fervis.errors import WrongQuestion, unknown
from fervis.results import FilterImages, Findings


@dataclass
class ClassImage(Climbing):
    """Climbs the images that most raise each class's logit; its knobs are those of every climb."""

    kind: ClassVar[str] = FilterImages.kind
    default_layer: ClassVar[str] = "input"
    uses_layers: ClassVar[bool] = False

    def examine(self, model: nn.Module, inquiry: Inquiry) -> Findings:
        """An entry a class: every one, or those of ``target=``, names or numbers.

        Raises:
            WrongQuestion: the network has no such class, or its output is no row of logits.
        """
        classes = chosen_classes(inquiry.target, inquiry.classes)

        def answers(images: Tensor) -> list[Tensor]:
            with undisturbed(model), torch.no_grad():
                logits = model(images.clone())
            if logits.ndim != 2:
                raise WrongQuestion(f"model: its output is {list(logits.shape)}, expected [N,K] logits.")
            return [logits]

        (beside,) = compared(inquiry, answers)
        result = climbed(
            self,
            inquiry,
            lambda some, quick: class_values(model, some, quick),
            classes,
            chosen_of(beside, classes),
            use="class_image",
            unit="logit",
        )
        names = tuple(inquiry.classes[index] for index in classes)
        beyond = float((result.reached >= result.strongest).float().mean())
        return Findings(result, ("network",) * len(names), names, numbers={"beyond_faces": beyond})


def chosen_classes(spec: Any, classes: Sequence[str]) -> list[int]:
    """The numbers of the classes that ``target=`` means: ``auto`` and ``all``, a name, a number, or a list of them."""
    if spec in ("auto", "all"):
        return list(range(len(classes)))
    found = []
    for one in [spec] if isinstance(spec, str | int) else list(spec):
        if str(one) in classes:
            found.append(list(classes).index(str(one)))
        elif str(one).isdecimal() and int(one) < len(classes):
            found.append(int(one))
        else:
            raise unknown("target", one, [*classes, "auto", "all"])
    return list(dict.fromkeys(found))


PLUGIN = ClassImage
