"""What help and completion say of settings, read from the source, beside what the imported classes state."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.command import ROOT

from fervis.cli.completion import candidates
from fervis.cli.help import option_help
from fervis.cli.knob_docs import knob_constraints
from fervis.core.knobs import constraints
from fervis.core.registry import KINDS, names, option_settings, plugin_class

OPTIONS = [(kind, name) for kind in KINDS for name in names(kind)]


@pytest.mark.parametrize(("kind", "name"), OPTIONS)
def test_the_source_says_what_the_class_states(kind: str, name: str):
    plugin = option_settings(kind, name).get("name")
    if plugin is None:  # it lists others
        return
    stated = constraints(plugin_class(kind, plugin))
    read = {knob: str(constraint) for knob, constraint in knob_constraints(kind, name).items()}
    # A constraint that is a class of another module must be imported, so that help and completion leave it out.
    missing = {type(stated[knob]).__module__ for knob in stated.keys() - read.keys()}
    assert "fervis.core.knobs" not in missing
    assert read == {knob: str(constraint) for knob, constraint in stated.items() if knob in read}


def test_help_shows_ranges_and_choices():
    assert "a whole number from 1" in " ".join(option_help("trainer", "quick").split())
    assert "(own or shared)" in " ".join(option_help("visualizer", "heatmap").split())


def test_completion_offers_the_choices():
    assert {"trainer.optimizer=sgd", "trainer.optimizer=adamw"} & {*candidates([], "trainer.optimizer=")}
    known = {f"visualizer.scale={word}" for word in ("own", "shared")}
    assert known <= {*candidates(["explainer=saliency"], "visualizer.scale=")}


def test_no_library_is_imported():
    code = (
        "import sys; from fervis.cli.knob_docs import knob_constraints\n"
        "assert knob_constraints('trainer', 'quick')\n"
        "print({'torch', 'matplotlib', 'numpy', 'omegaconf'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout == "set()\n", done.stderr
