"""fervis: what does a facial-expression network look at, and can I believe it?

From Python:

- ``explain(model, images, explainer="saliency", layer="conv7", target=labels)`` explains any network's images.
- ``score(model, images, maps, "deletion")`` scores maps, those of other libraries too, by measures of evidence.
- ``agreement({"saliency": maps, "lime": others})`` measures how far methods agree about the same images.
- ``load_result(path)`` reads maps that ``result.save(path)`` wrote, or those of a run folder.
- ``ask(["explainer=saliency", "layer=conv7"])`` answers a question into its run folder, as ``python -m fervis`` does.
- ``load_model("vgg8", weights="fer2013")`` returns a trained network that comes with fervis.
- ``check_explainer("saliency")`` checks whether an explainer, such as one of your own, keeps the contract.
- ``check_evidence("deletion")`` checks whether a measure of evidence keeps the contract.
- ``names("explainer")`` lists what can be chosen.

Nothing heavy is imported before it is needed.
"""

from importlib import import_module

TYPE_CHECKING = False  # not typing's: `python -m fervis` must import nothing before it has left the current folder
if TYPE_CHECKING:
    from fervis.core.registry import names
    from fervis.core.results.result_files import load_result
    from fervis.errors import ConfigError, RunError, WrongQuestion
    from fervis.evidence.checks.suite import check_evidence, evidence_checks
    from fervis.explainers.checks.suite import check_explainer, explainer_checks
    from fervis.explainers.explain import explain
    from fervis.models.pretrained import load_model
    from fervis.runs.agreement import agreement
    from fervis.runs.api import ask
    from fervis.runs.score import score

__version__ = "0.2.0"

_PUBLIC_NAMES = {
    "ConfigError": "fervis.errors",
    "RunError": "fervis.errors",
    "WrongQuestion": "fervis.errors",
    "agreement": "fervis.runs.agreement",
    "ask": "fervis.runs.api",
    "check_evidence": "fervis.evidence.checks.suite",
    "check_explainer": "fervis.explainers.checks.suite",
    "evidence_checks": "fervis.evidence.checks.suite",
    "explain": "fervis.explainers.explain",
    "explainer_checks": "fervis.explainers.checks.suite",
    "load_model": "fervis.models.pretrained",
    "load_result": "fervis.core.results.result_files",
    "names": "fervis.core.registry",
    "score": "fervis.runs.score",
}

__all__ = [
    "ConfigError",
    "RunError",
    "WrongQuestion",
    "__version__",
    "agreement",
    "ask",
    "check_evidence",
    "check_explainer",
    "evidence_checks",
    "explain",
    "explainer_checks",
    "load_model",
    "load_result",
    "names",
    "score",
]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC_NAMES:
        raise AttributeError(f"module 'fervis' has no attribute {name!r}; it has {', '.join(sorted(_PUBLIC_NAMES))}")
    return getattr(import_module(_PUBLIC_NAMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
