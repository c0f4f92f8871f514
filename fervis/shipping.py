"""Take a trained network into the package: ``python -m fervis.shipping dataset=fer2013 dataset.path=... trainer=...``.

It trains the question's network unless it is trained already, brings it into the precision in which it is shipped,
evaluates that very network, and writes best epoch, first epoch and model card to ``fervis/weights/``. A training in two
stages is ``... -- <what differs in the second>``: the second starts from the best epoch of the first.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fervis.asked import prepare
from fervis.assessment import assess_training, told
from fervis.atomic import write_text
from fervis.commands import facts_for, question_to_train
from fervis.engines.weights import load_weights
from fervis.looking import trained_network
from fervis.shipped import FOLDER, load_model, ship
from fervis.training import checkpoint_file


def ship_training(overrides: Sequence[str]) -> None:
    """Ship the network of a question; see the module."""
    first = list(overrides[: overrides.index("--")]) if "--" in overrides else list(overrides)
    question = question_to_train(first)
    asked = prepare(question)
    faces = asked.dataset.load(question.cache)
    begun, history = trained_network(asked, faces)
    folder, before = begun, 0
    if "--" in overrides:
        before = int(history["best"])
        start = checkpoint_file("best", begun, history)
        question = question_to_train([*first, *overrides[len(first) + 1 :], f"trainer.start={start}"])
        asked = prepare(question)
        folder, history = trained_network(asked, faces)
    model, dataset = str(question.model["name"]), str(question.dataset["name"])
    best = checkpoint_file("best", folder, history)
    early = checkpoint_file(1, begun, {"last": before or history["last"]})
    for file, epoch, ending in ((best, before + int(history["best"]), ""), (early, 1, "-epoch1")):
        network = asked.network(faces)
        load_weights(network, file)
        ship(network, question.model, FOLDER / f"{model}-{dataset}{ending}.safetensors", {"epoch": str(epoch)})
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        shutil.copy(folder / "metrics.csv", place)
        shutil.copy(FOLDER / f"{model}-{dataset}.safetensors", place / f"epoch_{history['best']:03d}.safetensors")
        facts = facts_for(question, overrides) | {"licence": "Apache-2.0, as fervis; the data's own is not open"}
        if before:
            facts["trainer"] = question.trainer | {"start": f"epoch {before} of the first stage"}
        facts["command"] = str(facts["command"]).replace("fervis train", "fervis.shipping")
        report = assess_training(load_model(model, dataset).to(asked.device), faces, place, history, facts)
        write_text(FOLDER / f"{model}-{dataset}.md", (place / "card.md").read_text(encoding="utf-8"))
        write_text(FOLDER / f"{model}-{dataset}.json", json.dumps(report, allow_nan=False) + "\n")
    print(told(report))


if __name__ == "__main__":
    ship_training(sys.argv[1:])
