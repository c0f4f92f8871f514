"""The supervised trainer against a training loop written out by hand, and what it keeps on disk."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from fervis.core.faces import Faces
from fervis.core.network import Network
from fervis.core.protocols import Model, TrainingContext
from fervis.core.registry import build_plugin
from fervis.errors import ConfigError, RunError
from fervis.models.state_dicts import load_weights
from fervis.trainers.augmentation import Augmentation
from fervis.trainers.trained import checkpoint_file, train_or_load, training_faces, training_key
from fervis.trainers.trained import initial_network as build_untrained


def drawn(count: int = 48) -> Faces:
    """Two classes that differ in which half is bright."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 128, (count, 1, 16, 16), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    images[labels == 1, :, :8] += 120
    splits = torch.tensor([0, 0, 0, 1, 0, 0, 1, 0]).repeat(count // 8).to(torch.uint8)
    return Faces(images, labels, torch.arange(count), splits, ("dark", "bright"))


def context(**changes: object) -> TrainingContext:
    return TrainingContext(
        **{"seed": 3, "device": "cpu", "precision": "fp32", "log": lambda *_: None, "quiet": True} | changes
    )  # pyright: ignore


def untrained(model: Model, faces: Faces, seed: int) -> Network:
    return build_untrained(model, seed, channels=1, size=16, classes=faces.classes)


def tiny() -> Model:
    return build_plugin("model", "vgg8", width=2, dropout=0.0)


def test_one_step_is_sgd_with_nesterov_momentum_on_the_cycles_learning_rate(tmp_path: Path):
    faces = drawn()
    plain = {"flip": False, "rotation": 0.0, "scale": 0.0, "shift": 0.0}
    trainer = build_plugin("trainer", "supervised", epochs=4, batch_size=64, lr=0.1, label_smoothing=0.2, **plain)
    network, twin = (untrained(tiny(), faces, 0) for _ in range(2))
    trainer.train(network, faces.split("train"), faces.split("val"), tmp_path, context())

    decayed = [p for p in twin.parameters() if p.ndim > 1]
    free = [p for p in twin.parameters() if p.ndim == 1]
    velocity = {p: torch.zeros_like(p) for p in twin.parameters()}
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        torch.optim.SGD([torch.zeros(1, requires_grad=True)]), 0.1, total_steps=4, cycle_momentum=False
    )
    train = faces.split("train")
    order = torch.Generator().manual_seed(3)
    for _ in range(4):
        index = torch.randperm(len(train), generator=order)
        Augmentation()(train.images[index], order)  # changes nothing and draws what the trainer draws
        twin.train()
        loss = F.cross_entropy(twin(train.images[index].float() / 255), train.labels[index], label_smoothing=0.2)
        grads = dict(zip(twin.parameters(), torch.autograd.grad(loss, list(twin.parameters())), strict=True))
        rate = schedule.get_last_lr()[0]
        with torch.no_grad():
            for p in [*decayed, *free]:
                slope = grads[p] + (5e-4 * p if p.ndim > 1 else 0)
                velocity[p] = 0.9 * velocity[p] + slope
                p -= rate * (slope + 0.9 * velocity[p])
        schedule.optimizer.step()
        schedule.step()
    for (name, one), two in zip(network.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_it_learns_keeps_every_epoch_and_names_the_best(tmp_path: Path):
    faces = drawn()
    seen: list[tuple[int, float]] = []
    trainer = build_plugin("trainer", "supervised", epochs=20, batch_size=12)
    network = untrained(tiny(), faces, 0)  # pyright: ignore
    told = train_or_load(
        trainer, network, faces, tmp_path, context(log=lambda e, n: seen.append((e, n["val/accuracy"])))
    )
    assert told["val/accuracy"] == 1.0
    assert [epoch for epoch, _ in seen] == list(range(1, 21))
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [float(row["val/accuracy"]) for row in rows] == [accuracy for _, accuracy in seen]
    assert told["best"] == max(seen, key=lambda row: (row[1], -row[0]))[0], "the earliest of equals"
    assert checkpoint_file("best", tmp_path, told).name == f"epoch_{told['best']:03d}.safetensors"
    assert checkpoint_file(3, tmp_path, told).name == "epoch_003.safetensors"
    with pytest.raises(ConfigError, match="checkpoint=99: there is no such epoch; this training kept 1 to 20"):
        checkpoint_file(99, tmp_path, told)
    again = untrained(tiny(), faces, 1)  # pyright: ignore
    load_weights(again, checkpoint_file("last", tmp_path, told))
    assert all(torch.equal(one, two) for one, two in zip(again.parameters(), network.parameters(), strict=True))


def test_the_same_settings_give_the_same_weights_and_another_seed_others(tmp_path: Path):
    faces = drawn()
    weights = []
    for number, seed in enumerate((3, 3, 4)):
        network = untrained(build_plugin("model", "vgg8", width=2, dropout=0.3), faces, 0)
        trainer = build_plugin("trainer", "supervised", epochs=2, batch_size=8)
        torch.manual_seed(number)  # what the caller drew before must not matter, dropout's draws included
        train_or_load(trainer, network, faces, tmp_path / str(number), context(seed=seed))
        weights.append(torch.cat([parameter.detach().flatten() for parameter in network.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_whole_training_is_found_and_an_interrupted_one_is_not(tmp_path: Path):
    faces = drawn()
    trainer = build_plugin("trainer", "supervised", epochs=1, batch_size=8)
    train_or_load(trainer, untrained(tiny(), faces, 0), faces, tmp_path, context())  # pyright: ignore
    stamp = (tmp_path / "epoch_001.safetensors").stat().st_mtime_ns
    train_or_load(trainer, untrained(tiny(), faces, 0), faces, tmp_path, context())  # pyright: ignore
    assert (tmp_path / "epoch_001.safetensors").stat().st_mtime_ns == stamp
    (tmp_path / "training.json").unlink()
    train_or_load(trainer, untrained(tiny(), faces, 0), faces, tmp_path, context())  # pyright: ignore
    assert (tmp_path / "epoch_001.safetensors").stat().st_mtime_ns > stamp


def test_the_key_names_all_that_determines_the_weights():
    faces = drawn()
    model, trainer = {"name": "vgg8", "width": 2, "checkpoint": None}, {"name": "supervised", "epochs": 1}
    key = training_key(model, trainer, faces, 0, "fp32")
    assert training_key({**model, "checkpoint": "x"}, trainer, faces, 0, "fp32") == key
    others = [
        training_key({**model, "width": 3}, trainer, faces, 0, "fp32"),
        training_key(model, {**trainer, "epochs": 2}, faces, 0, "fp32"),
        training_key(model, trainer, faces, 1, "fp32"),
        training_key(model, trainer, faces, 0, "bf16"),
        training_key(model, trainer, faces.take(torch.arange(44)), 0, "fp32"),
    ]
    assert len({key, *others}) == 6
    images = faces.images.clone()
    images[faces.splits == 2] = 0
    assert training_key(model, trainer, Faces(images, *list(vars(faces).values())[1:]), 0, "fp32") == key


def test_where_val_has_no_labels_a_tenth_of_train_is_held_out():
    faces = drawn(80)
    hidden = torch.where(faces.splits == 1, -1, faces.labels)
    seen = training_faces(Faces(faces.images, hidden, faces.rows, faces.splits, faces.classes))
    assert len(seen) == 60
    assert len(seen.split("val")) == 6
    assert set(seen.split("val").rows.tolist()) <= set(faces.split("train").rows.tolist())


def test_a_set_without_faces_to_train_on_is_refused(tmp_path: Path):
    faces = drawn()
    trainer = build_plugin("trainer", "supervised")
    with pytest.raises(ConfigError, match=r"0 labelled faces to train on .* model.checkpoint=<file>"):
        train_or_load(trainer, untrained(tiny(), faces, 0), faces.split("test"), tmp_path, context())  # pyright: ignore
    assert not list(tmp_path.iterdir())


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("epoch", [1, 2, 4])
@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "sgd", "schedule": "one_cycle"},
        {"optimizer": "adamw", "lr": 0.003, "schedule": "cosine", "ema": 0.9, "mixup": 0.2, "cutmix": 1.0},
        {"balance": "sampling", "erasing": 0.5, "contrast": 0.3, "keep": "few", "clip": 1.0},
    ],
)
def test_an_interrupted_training_goes_on_to_the_bit(tmp_path: Path, recipe: dict[str, object], epoch: int):
    faces = drawn()
    trainer = build_plugin("trainer", "supervised", epochs=5, batch_size=8, **recipe)
    model = build_plugin("model", "vgg8", width=2, dropout=0.3)

    def log(number: int, _: object) -> None:
        if number == epoch and not (tmp_path / "cut" / "training.json").exists() and not gone:
            gone.append(number)
            interrupted()

    gone: list[int] = []
    whole = train_or_load(trainer, untrained(model, faces, 0), faces, tmp_path / "whole", context())
    with pytest.raises(KeyboardInterrupt):
        train_or_load(trainer, untrained(model, faces, 0), faces, tmp_path / "cut", context(log=log))
    # What an epoch that did not end may have left behind.
    (tmp_path / "cut" / f"epoch_{epoch + 1:03d}.safetensors").write_bytes(b"half")
    again = train_or_load(trainer, untrained(model, faces, 0), faces, tmp_path / "cut", context())
    assert again == whole
    for path in sorted((tmp_path / "whole").glob("*.safetensors")):
        assert (tmp_path / "cut" / path.name).read_bytes() == path.read_bytes()
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert names == {path.name for path in (tmp_path / "cut").iterdir()}
    kept = {"all": range(1, 6), "few": {1, whole["best"], 5}}[trainer.keep]
    assert {f"epoch_{number:03d}.safetensors" for number in kept} | {"metrics.csv", "training.json"} == names


def test_votes_train_as_the_labels_they_agree_on_would(tmp_path: Path):
    """Raters who all choose the other class train the network that the other labels train, to the bit."""
    faces = drawn()
    votes = torch.zeros(len(faces), 3, dtype=torch.uint8)
    votes[torch.arange(len(faces)), 1 - faces.labels] = 10
    votes[:, 2] = 3  # raters who chose no class of the network's
    lone = torch.arange(len(faces)) % 5 == 0
    votes[lone] = torch.tensor([0, 1, 9], dtype=torch.uint8)  # one vote is too few: the label stands in
    names = ("dark", "bright", "NF")
    rated = Faces(faces.images, faces.labels, faces.rows, faces.splits, faces.classes, votes, names)
    relabelled = torch.where(lone, faces.labels, 1 - faces.labels)
    twins = Faces(faces.images, relabelled, faces.rows, faces.splits, faces.classes)
    weights = []
    for name, those in (("votes", rated), ("labels", twins), ("neither", faces)):
        network = untrained(tiny(), faces, 0)
        trainer = build_plugin("trainer", "supervised", epochs=2, batch_size=8, votes=name == "votes")
        trainer.train(network, those.split("train"), those.split("val"), tmp_path / name, context())
        weights.append(torch.cat([parameter.detach().flatten() for parameter in network.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_patience_ends_a_training_that_gets_no_better(tmp_path: Path):
    faces = drawn()
    trainer = build_plugin("trainer", "supervised", epochs=50, batch_size=12, patience=3)
    told = train_or_load(trainer, untrained(tiny(), faces, 0), faces, tmp_path, context())  # pyright: ignore
    assert told["last"] == told["best"] + 3 < 50


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path):
    trainer = build_plugin("trainer", "supervised", epochs=3, batch_size=12, lr=1e12, clip=0.0)
    with pytest.raises(RunError, match=r"a lower trainer\.lr may help"):
        train_or_load(trainer, untrained(tiny(), drawn(), 0), drawn(), tmp_path, context())  # pyright: ignore
    assert not (tmp_path / "training.json").exists()


def test_off_a_terminal_every_epoch_is_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    faces = drawn()
    trainer = build_plugin("trainer", "supervised", epochs=2, batch_size=12)
    for quiet in (False, True):
        with caplog.at_level("INFO", "fervis"):
            trainer.train(
                untrained(tiny(), faces, 0),
                faces.split("train"),
                faces.split("val"),
                tmp_path / str(quiet),
                context(quiet=quiet),
            )
    lines = [line for line in caplog.messages if line.startswith("epoch")]
    rows = list(csv.DictReader((tmp_path / "False" / "metrics.csv").read_text().splitlines()))
    assert [line.rpartition(",")[0] for line in lines] == [
        f"epoch {row['epoch']} of 2: loss {float(row['train/loss']):.3f}, "
        f"accuracy on val {100 * float(row['val/accuracy']):.1f} %"
        for row in rows
    ]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"optimizer": "sdg"}, "trainer.optimizer=sdg: expected sgd or adamw. Did you mean sgd?"),
        ({"balance": "samples"}, "Did you mean sampling?"),
        ({"ema": 1.0}, "trainer.ema=1.0: expected a number from 0 to below 1."),
        ({"rotation": -1}, "trainer.rotation=-1.0: expected a number from 0 to 180."),
        ({"weight_decay": -1}, "trainer.weight_decay=-1.0: expected a number from 0."),
        ({"cutmix": float("nan")}, "trainer.cutmix=nan: expected a number from 0 to 100."),
        ({"mixup": 1e30}, "trainer.mixup=1e+30: expected a number from 0 to 100."),
        ({"lr": float("inf")}, "trainer.lr=inf: expected a number from 0."),
        ({"epochs": 0}, "trainer.epochs=0: expected a whole number from 1."),
        ({"nodes": 0}, "trainer.nodes=0: expected a whole number from 1."),
        ({"start": ""}, "trainer.start=: expected a file of weights."),
    ],
)
def test_wrong_knobs(change: dict[str, object], sentence: str):
    with pytest.raises(ConfigError) as error:
        build_plugin("trainer", "supervised", **change)
    assert sentence in str(error.value)
