"""``docs/wandb_sweep.yaml``: what W&B's agent would start is a question to fervis, every time."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from fervis.core.registry import KINDS, build_plugin
from fervis.runs.config import compose_config, run_name, to_run_config

ROOT = Path(__file__).parents[2]
SWEEP: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "wandb_sweep.yaml").read_text(encoding="utf-8"))


def commands() -> list[list[str]]:
    """The command of every run, put together as W&B's agent does it."""
    values = [told.get("values", [told.get("value")]) for told in SWEEP["parameters"].values()]
    made = []
    for combination in itertools.product(*values):
        asked = dict(zip(SWEEP["parameters"], combination, strict=True))
        words = create_sweep_command_args({"args": {name: {"value": value} for name, value in asked.items()}})
        macros = {"${env}": ["/usr/bin/env"], **{f"${{{name}}}": told for name, told in words.items()}}
        made.append(
            [word for part in create_sweep_command(list(SWEEP["command"])) for word in macros.get(part, [part])]
        )
    return made


def test_every_run_is_a_question_of_its_own():
    assert {"method", "parameters", "command"} <= SWEEP.keys()
    names = set()
    for command in commands():
        assert command[:4] == ["/usr/bin/env", "python", "-m", "fervis"]
        config = compose_config(command[4:])
        question = to_run_config(config)
        for kind in KINDS:
            settings = getattr(question, kind)
            for plugin in settings.values() if kind == "evidence" else [settings]:
                build_plugin(kind, plugin)
        assert question.tracker["name"] == "wandb"
        names.add(run_name(config, question))
    expected = [len(told["values"]) for told in SWEEP["parameters"].values() if "values" in told]
    assert len(names) == expected[0] * expected[1] == 10
