"""Weights & Biases: one run a job, written inside the run folder and nowhere else.

Epochs are a metric of their own (``define_metric``), never W&B's step, which drops what comes late. Without an API key
or a network the run is recorded offline after one warning; ``python -m fervis.trackers.wandb_sync`` sends it later,
wherever the folder lies then.
"""

from __future__ import annotations

import logging
import netrc
import os
import re
import textwrap
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from fervis.core.protocols import ImageRow, RunInfo
from fervis.core.results import Figure
from fervis.errors import ConfigError, nearest_name

MODES = ("auto", "online", "offline", "disabled")
COPIED = 2**24  # bytes; larger files are kept where they lie, which an answer asked again fills with the same bytes


@dataclass
class WandB:
    """Follows a run with Weights & Biases.

    Attributes:
        project: where the run is listed.
        entity: user or team, None for the account's own.
        mode: ``auto`` is what ``WANDB_MODE`` says, else ``online`` where there is an API key (``WANDB_API_KEY`` or
            netrc) and ``offline`` elsewhere; ``disabled`` records nothing.
        tags: beside those of the run.
        timeout: seconds that the server has to answer before the run goes offline.
    """

    project: str = "fervis"
    entity: str | None = None
    mode: str = "auto"
    tags: list[str] = field(default_factory=list)
    timeout: float = 2.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(
                f"tracker.mode={self.mode}: expected one of {', '.join(MODES)}.{nearest_name(self.mode, MODES)}"
            )
        if not self.timeout > 0:
            raise ConfigError(f"tracker.timeout={self.timeout}: expected a number of seconds above 0.")
        self._run: Any = None
        self._after = ExitStack()
        self._epoch_metrics: set[str] = set()

    def start(self, run: RunInfo) -> None:
        """Open the run, online or offline, with the question as its config."""
        mode = os.environ.get("WANDB_MODE", "auto") if self.mode == "auto" else self.mode
        if mode == "disabled":
            return
        with ExitStack() as after:
            home = run.folder.resolve() / "wandb"
            home.mkdir(parents=True, exist_ok=True)
            after.callback(_restore, {name: text for name, text in os.environ.items() if name.startswith("WANDB_")})
            os.environ |= {"WANDB_DATA_DIR": str(home / "data"), "WANDB_CACHE_DIR": str(home / "cache")}
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
            os.environ.setdefault("WANDB_SILENT", "true")
            if not (_config_folder() / "settings").exists():  # a server of one's own is named there
                os.environ["WANDB_CONFIG_DIR"] = str(home / "config")
            theirs = logging.getLogger("wandb")  # it keeps files of its own; the console is not for it
            after.callback(setattr, theirs, "propagate", theirs.propagate)
            theirs.propagate = False
            import wandb

            alone = wandb.run is None  # else somebody's run is open, and the process that serves it is not ours to end
            if alone:
                after.callback(wandb.teardown)
            self._run = self._open(run, online=mode != "offline", alone=alone)
            self._after = after.pop_all()

    def _open(self, run: RunInfo, *, online: bool, alone: bool) -> Any:
        """The run, online if it is asked for and can be."""
        import wandb

        quiet: dict[str, Any] = {"silent": True, "console": "off", "disable_git": True, "x_disable_stats": True}
        options: dict[str, Any] = {
            "project": self.project,
            "entity": self.entity,
            # The agent of a W&B sweep has named the run already.
            "id": os.environ.get("WANDB_RUN_ID", run.id) if "WANDB_SWEEP_ID" in os.environ else run.id,
            "resume": "allow",
            "reinit": "create_new",
            "name": run.name,
            "group": run.group,
            "job_type": run.job_type,
            "tags": list(dict.fromkeys(tag[:64] for tag in (*run.tags, *self.tags))),
            "config": run.config,
            "dir": str(run.folder),
        }
        if online:
            server = wandb.setup().settings.base_url
            obstacle = _silence(server, self.timeout) if _has_key(server) else "no API key was found"
            if not obstacle:
                try:
                    settings = wandb.Settings(**quiet, init_timeout=10 * self.timeout)
                    return wandb.init(mode="online", settings=settings, **options)
                except wandb.Error as error:
                    obstacle = textwrap.shorten(f"{error}", 120).rstrip(".")
                # A run that could not begin keeps its id until the process that served it has ended.
                if alone:
                    wandb.teardown()
                else:
                    options["id"] += "-offline"
            logging.getLogger("fervis").warning(
                "tracker=wandb: %s, so this run is recorded offline in %s; "
                "`python -m fervis.trackers.wandb_sync %s` sends it later.",
                obstacle,
                run.folder / "wandb",
                run.folder,
            )
        return wandb.init(mode="offline", settings=wandb.Settings(**quiet), **options)

    def log(self, numbers: Mapping[str, float], epoch: int | None = None) -> None:
        """Numbers of an epoch become a row of curves over ``epoch``; numbers of the answer its summary."""
        if self._run is None:
            return
        if epoch is None:
            self._run.summary.update(dict(numbers))
            return
        for name in numbers.keys() - self._epoch_metrics - {"epoch"}:
            self._run.define_metric(name, step_metric="epoch")
            self._epoch_metrics.add(name)
        self._run.log({**numbers, "epoch": epoch})

    def picture(self, name: str, figure: Figure) -> None:
        """Keep the picture file as it is, with its caption."""
        if self._run is not None:
            import wandb

            self._run.log({name: wandb.Image(str(figure.path), caption=figure.caption)})

    def faces(self, rows: Sequence[ImageRow]) -> None:
        """Keep one table, ``table_of_faces``: row, face and map as pictures, then all that is told of each."""
        if self._run is not None:
            import wandb

            names = list(dict.fromkeys(name for row in rows for name in row.values))
            table = wandb.Table(columns=[names[0], "face", "map", *names[1:]])
            for row in rows:
                heat = None if row.map is None else wandb.Image(row.map, caption=row.scale)
                first, *rest = (row.values.get(name) for name in names)
                table.add_data(first, wandb.Image(row.face), heat, *rest)
            self._run.log({"table_of_faces": table})

    def confusion(self, name: str, counts: NDArray[np.int64], classes: Sequence[str]) -> None:
        """Keep the matrix as W&B's own plot, whose table tells every count."""
        if self._run is not None:
            import wandb

            pairs = np.argwhere(counts >= 0).repeat(counts.flatten(), axis=0)
            true, predicted = pairs[:, 0].tolist(), pairs[:, 1].tolist()
            plot = wandb.plot.confusion_matrix(y_true=true, preds=predicted, class_names=list(classes), title=name)
            self._run.log({name: plot})

    def keep(self, name: str, kind: str, files: Mapping[str, Path]) -> None:
        """Keep the files as an artifact of this kind; the same name again is its next version."""
        if self._run is not None:
            import wandb

            artifact = wandb.Artifact(re.sub(r"[^A-Za-z0-9_.-]+", "_", name), type=kind)
            for place, path in files.items():
                policy = "mutable" if path.stat().st_size <= COPIED else "immutable"
                artifact.add_file(str(path.resolve()), name=place, policy=policy)
            self._run.log_artifact(artifact)

    def finish(self, ok: bool) -> None:
        """Close the run, exit code 0 or 1, and leave the process as it was found."""
        run, self._run = self._run, None
        self._epoch_metrics.clear()
        with self._after:
            if run is not None:
                run.finish(exit_code=0 if ok else 1)


def _restore(before: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_") and name not in before]:
        del os.environ[name]
    os.environ.update(before)


def _config_folder() -> Path:
    return Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()


def _has_key(server: str) -> bool:
    """Whether there is an API key for the server, in the environment or in netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    files = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    for file in (Path(name).expanduser() for name in files if name):
        try:
            return netrc.netrc(str(file)).authenticators(urlsplit(server).hostname or "") is not None
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def _silence(server: str, timeout: float) -> str:
    """Why the server cannot be reached, or an empty string. W&B itself would try for a quarter of a minute."""
    answers: list[str] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(server, method="HEAD"), timeout=timeout).close()
            answers.append("")
        except urllib.error.HTTPError:
            answers.append("")  # an answer, if not a welcome
        except (OSError, ValueError) as error:
            answers.append(f"{server} cannot be reached ({getattr(error, 'reason', error)})")

    asking = threading.Thread(target=ask, daemon=True)  # looking up a name knows no timeout
    asking.start()
    asking.join(timeout)
    return answers[0] if answers else f"{server} does not answer within {timeout:g} s"
