"""The key of a run: a hash over everything that determines its result, files by their content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fervis import __version__
from fervis.core.fingerprints import path_content, plugin_fingerprint
from fervis.models.pretrained import pretrained_file
from fervis.runs.config.schema import EXCLUDED_FROM_KEY, RunConfig, trains
from fervis.system.hashing import digest

KEY_FORMAT = 2  # raised when the same config would give another result; 1 was a hash of the config's text
ID_DIGITS = 12  # of the key, in the names of folders
_PLUGINS = ("dataset", "model", "trainer", "explainer", "visualizer")


def run_key(config: RunConfig) -> str:
    """Return 64 hex digits that name the result of a config, on any machine and from any working directory.

    Raises:
        ConfigError: an unknown plug-in, a setting that it refuses, or a device that this machine does not have.
    """
    plain = {key: value for key, value in config.plain().items() if key not in EXCLUDED_FROM_KEY}
    plain |= {kind: plugin_fingerprint(kind, plain[kind], config.cache) for kind in _PLUGINS}
    plain["evidence"] = {
        name: plugin_fingerprint("evidence", measure, config.cache) for name, measure in plain["evidence"].items()
    }
    plain["checkpoint"] = [_checkpoint_content(spec, config) for spec in config.checkpoints]
    return digest([KEY_FORMAT, __version__, plain, _machine(config)])


def _checkpoint_content(spec: Any, config: RunConfig) -> Any:
    """Identify a checkpoint by the content of its file: one that the config names, or that comes with fervis."""
    path = Path(str(spec))
    if path.is_file():
        return [path.stem, path_content(str(path), config.cache)]
    weights = config.model.get("weights")
    if weights in (None, "auto") or config.model.get("checkpoint") or spec == "initial":
        return str(spec)
    return [str(spec), path_content(str(pretrained_file(config.model["name"], weights, spec)), config.cache)]


def _machine(config: RunConfig) -> list[Any]:
    """Return how the machine affects the result: not at all, unless the config requires a training."""
    if not trains(config):
        return []
    from fervis.system.device import choose_device, choose_precision
    from fervis.system.threads import training_machine

    device = choose_device(config.device)
    return [choose_precision(config.precision, device), training_machine(device)]
