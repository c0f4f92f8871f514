"""A plug-in that is checked: a registered name, a class or an instance, with the settings it is built with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from fervis.core.registry import build_from_class, option_settings, plugin_class


class CheckedPlugin(ABC):
    """The subject of a check: a plug-in of any kind.

    Attributes:
        kind: kind of plug-in, such as ``explainer``.
        knobs: settings that differ from the defaults.
    """

    kind: ClassVar[str]
    knobs: Mapping[str, Any]

    @property
    @abstractmethod
    def plugin(self) -> Any:
        """The registered name, the class or the instance."""

    @cached_property
    def cls(self) -> Any:
        """The class of the plug-in."""
        if isinstance(self.plugin, str):
            return plugin_class(self.kind, str(option_settings(self.kind, self.plugin).name))
        return self.plugin if isinstance(self.plugin, type) else type(self.plugin)

    @property
    def name(self) -> str:
        """The name for messages."""
        return self.plugin if isinstance(self.plugin, str) else self.cls.__name__

    @property
    def key(self) -> str:
        """The key of the settings in messages."""
        return f"{self.kind}.{self.name}" if self.kind == "evidence" else self.kind

    def settings(self) -> dict[str, Any]:
        """Return the settings of a registered name as its YAML states them, without ``name``; none for a class."""
        if not isinstance(self.plugin, str):
            return {}
        from omegaconf import OmegaConf

        stated = OmegaConf.to_container(option_settings(self.kind, self.plugin))
        assert isinstance(stated, dict)
        return {str(knob): value for knob, value in stated.items() if knob != "name"}

    def build(self, **changes: Any) -> Any:
        """Build the plug-in with its settings and these changes; an instance is taken as it is."""
        if not isinstance(self.plugin, str | type) and not changes:
            return self.plugin
        return build_from_class(self.key, self.cls, {**self.settings(), **self.knobs, **changes})
