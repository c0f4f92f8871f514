"""The command under test and settings that keep it quick."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["dataset.per_class_train=40", "dataset.per_class_val=10", "dataset.per_class_test=4", "trainer.epochs=1"]
