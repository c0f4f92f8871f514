"""fervis: what does a facial-expression network look at, and can I believe it?

The Python door, the same as the command's:

- ``explain(model, images, explainer="saliency", layer="conv7", target=labels)`` explains any network's images.
- ``ask(["explainer=saliency", "layer=conv7"])`` answers a question into its run folder, as ``python -m fervis`` does.
- ``load_model("vgg8", weights="fer2013")`` gives a trained network that comes with fervis.
- ``names("explainer")`` lists what can be chosen.

Nothing heavy is imported before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fervis.asking import ask
    from fervis.errors import WrongQuestion
    from fervis.explaining import explain
    from fervis.registry import names
    from fervis.shipped import load_model

DOORS = {
    "WrongQuestion": "fervis.errors",
    "ask": "fervis.asking",
    "explain": "fervis.explaining",
    "load_model": "fervis.shipped",
    "names": "fervis.registry",
}

__all__ = ["WrongQuestion", "ask", "explain", "load_model", "names"]


def __getattr__(name: str) -> Any:
    if name not in DOORS:
        raise AttributeError(f"module 'fervis' has no attribute {name!r}; it has {', '.join(sorted(DOORS))}")
    return getattr(import_module(DOORS[name]), name)
