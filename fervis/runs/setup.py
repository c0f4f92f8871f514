"""A config with its plug-ins built, so that every wrong setting is refused before any work begins."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from fervis.core.faces import Faces
from fervis.core.network import Network
from fervis.core.protocols import Dataset, Explainer, Model, Tracker, Trainer, Visualizer
from fervis.core.registry import build_plugin, visualizer_for
from fervis.core.results import HeatMaps
from fervis.errors import ConfigError
from fervis.evidence.protocol import Evidence
from fervis.explainers.explain import check_takes, try_explainer
from fervis.models.pretrained import build_config
from fervis.models.state_dicts import existing_weights
from fervis.runs.checkpoints import Checkpoint, parse_checkpoints
from fervis.runs.config import RunConfig, Shard, parse_shard
from fervis.system.device import choose_device, choose_precision
from fervis.system.threads import choose_threads
from fervis.trainers.trained import initial_network


@dataclass(frozen=True)
class RunSetup:
    """A config with its plug-ins.

    Attributes:
        config: the typed config.
        dataset: plug-in.
        model: plug-in.
        trainer: plug-in.
        explainer: plug-in.
        visualizer: plug-in.
        tracker: plug-in.
        device: where the network runs.
        precision: of a training.
        threads: that explain.
        checkpoints: which weights are explained.
        pretrained: what the shipped network was built for (channels, size, classes), or None.
        shard: the part of the faces that this job explains, or None.
        evidence: measures of evidence, by name.
    """

    config: RunConfig
    dataset: Dataset
    model: Model
    trainer: Trainer
    explainer: Explainer
    visualizer: Visualizer
    tracker: Tracker
    device: str
    precision: str
    threads: int
    checkpoints: tuple[Checkpoint, ...]
    pretrained: dict[str, Any] | None
    shard: Shard | None
    evidence: dict[str, Evidence]

    @cached_property
    def explainer_name(self) -> str:
        """Name of the explainer, as in the config."""
        return str(self.config.explainer["name"])

    def files(self) -> list[Path]:
        """Return the files that the result comes from: data, weights, and what the explainer reads."""
        weights = [checkpoint.weights for checkpoint in self.checkpoints if checkpoint.weights]
        read = getattr(self.explainer, "files", list)()
        return list(dict.fromkeys([*self.dataset.files(), *self.model.files(), *weights, *read]))

    def network(self, faces: Faces) -> Network:
        """Build the network with its initial weights, for these faces or for those a shipped one was trained on."""
        built_for = self.pretrained or {}
        return initial_network(
            self.model,
            self.config.seed,
            channels=built_for.get("channels", faces.images.shape[1]),
            size=built_for.get("size", faces.images.shape[2]),
            classes=tuple(built_for.get("classes", faces.classes)),
        )


def build_run(config: RunConfig) -> RunSetup:
    """Build and check every plug-in of a config.

    Raises:
        ConfigError: an unknown name, a wrong setting, or plug-ins that do not fit together.
    """
    device = choose_device(config.device)
    model = build_plugin("model", config.model)
    if model.checkpoint:
        existing_weights(model.checkpoint)
    checkpoints = parse_checkpoints(config, model)
    shipped = next((checkpoint.weights for checkpoint in checkpoints if checkpoint.shipped), None)
    built_for = build_config(shipped) if shipped else None
    model = build_plugin("model", built_for["model"]) if built_for else model
    setup = RunSetup(
        config=config,
        dataset=build_plugin("dataset", config.dataset),
        model=model,
        trainer=build_plugin("trainer", config.trainer),
        explainer=build_plugin("explainer", config.explainer),
        visualizer=build_plugin("visualizer", config.visualizer),
        tracker=build_plugin("tracker", config.tracker),
        device=device,
        precision=choose_precision(config.precision, device),
        threads=choose_threads(config.threads),
        checkpoints=checkpoints,
        pretrained=built_for,
        shard=parse_shard(config.shard),
        evidence={name: build_plugin("evidence", settings) for name, settings in config.evidence.items()},
    )
    _check_fit(setup)
    if setup.explainer.result is HeatMaps and not type(setup.explainer).__module__.startswith("fervis."):
        try_explainer(setup.explainer)
    return setup


def _check_fit(setup: RunSetup) -> None:
    """Refuse plug-ins and settings that do not fit together.

    Raises:
        ConfigError: the visualizer draws another kind of result, or a layer, target or shard changes nothing.
    """
    for path in setup.model.files():
        if not path.exists():
            raise ConfigError(f"model={setup.config.model['name']}: there is no file {path}.")
    name, kind = setup.explainer_name, setup.explainer.result.kind
    if setup.visualizer.kind != kind:
        raise ConfigError(
            f"visualizer={setup.config.visualizer['name']}: it draws {setup.visualizer.kind}, and explainer="
            f"{name} gives {kind}; ask with visualizer={visualizer_for(kind)}."
        )
    check_takes(setup.explainer, name, setup.config.layer, setup.config.target)
    if setup.shard and setup.explainer.scope == "network":
        raise ConfigError(
            f"shard={setup.shard}: explainer={name} explains the network as a whole; a shard is a part of the faces "
            "that are explained."
        )


def image_tensor(faces: Faces, setup: RunSetup) -> Tensor:
    """Return images [N,C,H,W] as float32 in [0, 1], on the run's device."""
    return faces.images.to(setup.device).float() / 255
