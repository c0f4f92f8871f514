"""The protocol of a measure of evidence: a dataclass of knobs with a method that scores maps."""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol

from torch import Tensor, nn

from fervis.models.batch import Batch


class ExplainAgain(Protocol):
    """Explains a batch again with the run's own method, at the layer and for the targets whose maps are scored."""

    def __call__(
        self, images: Tensor | None = None, model: nn.Module | None = None, *, seed: int | None = None
    ) -> Tensor:
        """Return maps [N,T,H,W] of other images, of another network of the same form, or under another seed.

        Args:
            images: [N,C,H,W], or [N*V,C,H,W] with V versions of each image in a row, which give maps [N*V,T,H,W].
            model: the network; None for the run's own.
            seed: root of the method's randomness; None for the run's own.
        """
        ...


class Evidence(Protocol):
    """A measure of how correct a map is.

    Attributes:
        better: whether lower or higher scores are better; ``neither`` for a description without a direction.
        needs: requirements, of ``truth`` (the data set knows which pixels matter) and ``explain_again`` (the run's own
            method explains other images or networks); a run that lacks one is refused.

    A measure may have ``same_for_every_map``: names of scores that depend on the image and not on the map, which are
    not computed of baselines.
    """

    better: ClassVar[Literal["lower", "higher", "neither"]]
    needs: ClassVar[frozenset[str]]

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Score maps.

        Args:
            batch: N images with T targets each, their network and, where it is known, their truth.
            maps: [N,T,H,W] float32 at the images' size, un-normalised.
            again: explains again; for measures that need it.

        Returns:
            Name -> [N,T] float. The name ``""`` is the measure itself; others are appended to its name.
        """
        ...
