"""Put a trained network into the package: ``python -m fervis ship dataset=fer2013 dataset.path=... trainer=...``.

It trains the question's network unless it is trained already, converts it to the precision in which it is shipped,
evaluates that very network, and writes best epoch, first epoch and model card to the package. A training in two stages
is ``... -- <what differs in the second>``: the second starts from the best epoch of the first.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fervis.models.pretrained import PRETRAINED_FOLDER, load_model, package_weights
from fervis.models.state_dicts import load_weights
from fervis.runs.evaluate import accuracy_table, evaluate_training
from fervis.runs.inputs import find_training
from fervis.runs.setup import build_run
from fervis.runs.train import model_card_info, training_config
from fervis.system.files import write_text
from fervis.trainers.trained import checkpoint_file


def ship_training(overrides: Sequence[str]) -> None:
    """Put the network of a config into the package."""
    first = list(overrides[: overrides.index("--")]) if "--" in overrides else list(overrides)
    config = training_config(first)
    setup = build_run(config)
    faces = setup.dataset.load(config.cache)
    first_folder, history = find_training(setup, faces)
    folder, before = first_folder, 0
    stages = [{"trainer": config.trainer, "best": int(history["best"])}]
    if "--" in overrides:
        before = int(history["best"])
        start = checkpoint_file("best", first_folder, history)
        config = training_config([*first, *overrides[len(first) + 1 :], f"trainer.start={start}"])
        setup = build_run(config)
        folder, history = find_training(setup, faces)
        trainer = config.trainer | {"start": f"epoch {before} of the first stage"}
        stages.append({"trainer": trainer, "best": int(history["best"])})
    model, dataset = str(config.model["name"]), str(config.dataset["name"])
    best = checkpoint_file("best", folder, history)
    early = checkpoint_file(1, first_folder, {"last": before or history["last"]})
    for file, epoch, ending in ((best, before + int(history["best"]), ""), (early, 1, "-epoch1")):
        network = setup.network(faces)
        load_weights(network, file)
        package_weights(
            network, config.model, PRETRAINED_FOLDER / f"{model}-{dataset}{ending}.safetensors", {"epoch": str(epoch)}
        )
    with tempfile.TemporaryDirectory() as scratch:
        card_folder = Path(scratch)
        shutil.copy(folder / "metrics.csv", card_folder)
        shutil.copy(
            PRETRAINED_FOLDER / f"{model}-{dataset}.safetensors",
            card_folder / f"epoch_{history['best']:03d}.safetensors",
        )
        facts = model_card_info(config, overrides) | {"licence": "Apache-2.0, as fervis; the data's own is not open"}
        facts["trainer"] = stages[-1]["trainer"]
        facts["command"] = str(facts["command"]).replace("fervis train", "fervis ship")
        report = evaluate_training(load_model(model, dataset).to(setup.device), faces, card_folder, history, facts)
        recipe = {
            "model": {key: value for key, value in config.model.items() if key not in ("weights", "checkpoint")},
            "trainer": facts["trainer"],
            "stages": stages,
            "epochs": sum(int(stage["trainer"]["epochs"]) for stage in stages),
            "seed": config.seed,
            "data": {"name": dataset, "sha256": faces.fingerprint()},
            "command": facts["command"],
        }
        write_text(PRETRAINED_FOLDER / f"{model}-{dataset}.md", (card_folder / "card.md").read_text(encoding="utf-8"))
        write_text(
            PRETRAINED_FOLDER / f"{model}-{dataset}.json",
            json.dumps({"recipe": recipe, **report}, allow_nan=False) + "\n",
        )
    print(accuracy_table(report))
