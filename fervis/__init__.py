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
    from fervis.core.registry import names
    from fervis.errors import ConfigError, RunError, WrongQuestion
    from fervis.explainers.explain import explain
    from fervis.models.pretrained import load_model
    from fervis.runs.api import ask

_PUBLIC_NAMES = {
    "ConfigError": "fervis.errors",
    "RunError": "fervis.errors",
    "WrongQuestion": "fervis.errors",
    "ask": "fervis.runs.api",
    "explain": "fervis.explainers.explain",
    "load_model": "fervis.models.pretrained",
    "names": "fervis.core.registry",
}

__all__ = ["ConfigError", "RunError", "WrongQuestion", "ask", "explain", "load_model", "names"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC_NAMES:
        raise AttributeError(f"module 'fervis' has no attribute {name!r}; it has {', '.join(sorted(_PUBLIC_NAMES))}")
    return getattr(import_module(_PUBLIC_NAMES[name]), name)
