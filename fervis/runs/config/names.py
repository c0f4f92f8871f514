"""Names of folders: readable, equal for equal runs and different for different ones."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from fervis.core.registry import config_sources, preset_files
from fervis.runs.config.keys import ID_DIGITS, run_key
from fervis.runs.config.schema import EXCLUDED_FROM_KEY, RunConfig
from fervis.system.hashing import digest


def run_id(key: str) -> str:
    """Return the part of a run's key that stands in the name of its folder."""
    return key[:ID_DIGITS]


def run_name(config: DictConfig, run: RunConfig) -> str:
    """Return ``vgg8-saliency-conv7-1f0c2a9b37d4``: readable, and the same for runs of the same result.

    Args:
        config: as Hydra composed it; it states which options and which preset were chosen.
        run: the same config, checked.
    """
    choices = config.hydra.runtime.choices
    model, explainer = (choices.get(kind, getattr(run, kind)["name"]) for kind in ("model", "explainer"))
    words = [model, str(choices.get("experiment")) if run.parts else explainer]
    if run.layer is not None:
        words.append("+".join([run.layer] if isinstance(run.layer, str) else run.layer))
    return f"{_slug('-'.join(str(word) for word in words))}-{run_id(run_key(run))}"


def refused_name(config: DictConfig) -> str:
    """Return the name of the folder that states why a job of a sweep was refused."""
    keys = [str(key) for key in config if key != "hydra"]
    return f"refused-{digest(OmegaConf.to_container(OmegaConf.masked_copy(config, keys)), ID_DIGITS)}"


def _slug(words: str) -> str:
    """Words as a folder's name on any file system."""
    return re.sub(r"[^\w.+-]+", "_", words)[:80]


def sweep_name(overrides: Sequence[str]) -> str:
    """Return ``layer-explainer-5e0c77d1``: what is swept; the same for the same command, which so resumes its sweep."""
    # Run again, quietly, on another device or by another launcher, it is the same sweep.
    apart = {*EXCLUDED_FROM_KEY, "hydra/launcher"} - {"shard"}
    beneath = ("hydra.launcher.", "tracker.")
    keys = {override: override.partition("=")[0].lstrip("+~") for override in overrides}
    overrides = [override for override in overrides if keys[override] not in apart]
    overrides = [override for override in overrides if not keys[override].startswith(beneath)]
    values = {key: value for key, _, value in (override.partition("=") for override in overrides)}
    preset = preset_files().get(values.get("experiment", ""))
    hashed = digest([sorted(overrides), preset.read_text(encoding="utf-8") if preset else ""], 8)
    swept = [override.partition("=")[0] for override in overrides if _is_sweep(override)]
    return f"{_slug('-'.join(swept) or values.get('experiment') or 'sweep')}-{hashed}"


def _is_sweep(override: str) -> bool:
    """Whether an override has several values; one that cannot be read is refused where it is composed."""
    try:
        return OverridesParser.create().parse_override(override).is_sweep_override() or override == "layer=each"
    except HydraException:
        return False


def command_line(overrides: Sequence[str]) -> str:
    """Return the command with these overrides, quoted for a shell."""
    sources = [word for folder in config_sources.folders for word in ("--config-dir", str(folder))]
    sources += [word for folder in config_sources.primary for word in ("--config-path", str(folder))]
    sources += [] if config_sources.name == "config" else ["--config-name", config_sources.name]
    return shlex.join(["python", "-m", "fervis", *sources, *overrides])


def run_folder(config: DictConfig) -> Path:
    """Return the folder of a composed config's run."""
    return Path(config.hydra.run.dir)
