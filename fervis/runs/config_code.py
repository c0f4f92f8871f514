"""Refuse configs that would have Hydra run code: callbacks, and targets that are no plug-in of Hydra's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from fervis.core.registry import config_sources
from fervis.errors import ConfigError
from fervis.runs.config import compose_config
from fervis.runs.overrides import parse_override

# What Hydra instantiates is named by `_target_`, in logging's dictionaries also by `()` and `class`.
# The last word is held to a class, for a module's own imports, such as os.system, are reached through it too.
HYDRA_TARGETS = re.compile(
    r"hydra\._internal\.core_plugins\.\w+\.\w+(Launcher|Sweeper)|hydra_plugins(\.\w+){1,3}\.\w+(Launcher|Sweeper)"
    r"|optuna\.samplers\.\w+Sampler"
)
LOGGING_CLASSES = re.compile(r"logging(\.handlers)?\.\w+|colorlog\.\w+")
CODE_KEYS = ("_target_", "()")


def refuse_code(overrides: Sequence[str]) -> None:
    """Check that nothing that Hydra instantiates runs code of a shared config folder.

    Without folders of the user's and settings of Hydra's there is nothing to check.

    Args:
        overrides: of a run or a sweep.

    Raises:
        ConfigError: a callback, or a class that is no launcher, sweeper or logger.
    """
    fixed = [text for text in overrides if (parsed := parse_override(text)) and not parsed.is_sweep_override()]
    shared = config_sources.folders or config_sources.primary or config_sources.name != "config"
    if not shared and not any(text.lstrip("+~").startswith(("hydra.", "hydra/")) for text in fixed):
        return
    config = OmegaConf.to_container(compose_config(fixed), resolve=False)
    assert isinstance(config, dict)
    hydra = config.pop("hydra")
    if hydra.get("callbacks"):
        raise ConfigError("hydra.callbacks: they run Python code, which fervis does not do; leave them out.")
    for part in ("launcher", "sweeper"):
        for key, value in _pairs(hydra.get(part)):
            if key == "_target_" and not HYDRA_TARGETS.fullmatch(str(value)):
                raise _refusal(f"hydra.{part}", key, value)
    for part in ("job_logging", "hydra_logging"):
        for key, value in _pairs(hydra.get(part)):
            if key in CODE_KEYS or (key == "class" and not LOGGING_CLASSES.fullmatch(str(value))):
                raise _refusal(f"hydra.{part}", key, value)
    for key, value in _pairs(config):
        if key in CODE_KEYS:
            raise _refusal("the config", key, value)


def _refusal(part: str, key: str, value: Any) -> ConfigError:
    return ConfigError(f"{key}: {value} in {part} names Python code to run, which fervis does not do; leave it out.")


def _pairs(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key with its value, however deep."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield str(key), value
            yield from _pairs(value)
    elif isinstance(node, list):
        for value in node:
            yield from _pairs(value)
