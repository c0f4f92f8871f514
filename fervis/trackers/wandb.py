"""Weights & Biases: one W&B run per fervis run, written inside the run folder and nowhere else.

Epochs are a metric of their own (``define_metric``) rather than W&B's step, which drops rows that arrive late. Without
an API key or a network the run is recorded offline after one warning; ``fervis track <folder> tracker=wandb`` sends it
later from what the run folder holds, on any machine.
"""

from __future__ import annotations

import hashlib
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
from typing import Annotated, Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from fervis.core.knobs import Above, Choice, Text
from fervis.core.protocols import ImageRow, RunInfo
from fervis.core.results import Figure

# Bytes. W&B copies smaller files into its staging area; larger ones it reads in place, which is safe because a
# repeated run writes the same bytes there.
COPY_LIMIT = 2**24


@dataclass
class WandB:
    """Records runs with Weights & Biases.

    Attributes:
        project: project that lists the run.
        entity: user or team, None for the account's default.
        mode: ``auto`` follows ``WANDB_MODE``; where that is not set, it is ``online`` with an API key
            (``WANDB_API_KEY`` or netrc) and ``offline`` without. ``disabled`` records nothing.
        tags: further tags of the run.
        timeout: seconds to wait for the server before the run is recorded offline.
    """

    project: Annotated[str, Text("the name of a project")] = "fervis"
    entity: Annotated[str | None, Text("a user or team")] = None
    mode: Annotated[str, Choice("auto", "online", "offline", "disabled")] = "auto"
    tags: list[str] = field(default_factory=list)
    timeout: Annotated[float, Above(0)] = 2.0

    def __post_init__(self) -> None:
        self._run: Any = None
        self._after = ExitStack()
        self._epoch_metrics: set[str] = set()

    def start(self, run: RunInfo) -> None:
        """Open the run, online or offline, with the run's config."""
        mode = os.environ.get("WANDB_MODE", "auto") if self.mode == "auto" else self.mode
        if mode == "disabled":
            return
        with ExitStack() as after:
            home = run.folder.resolve() / "wandb"
            home.mkdir(parents=True, exist_ok=True)
            after.callback(
                _restore_environment, {name: text for name, text in os.environ.items() if name.startswith("WANDB_")}
            )
            os.environ |= {"WANDB_DATA_DIR": str(home / "data"), "WANDB_CACHE_DIR": str(home / "cache")}
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
            os.environ.setdefault("WANDB_SILENT", "true")
            if not (_config_folder() / "settings").exists():  # it may name a self-hosted server
                os.environ["WANDB_CONFIG_DIR"] = str(home / "config")
            logger = logging.getLogger("wandb")  # W&B logs to files; its lines do not belong on the console
            after.callback(setattr, logger, "propagate", logger.propagate)
            logger.propagate = False
            import wandb

            # Where the caller has a W&B run open, the service process is shared with it and must outlive this run.
            owns_service = wandb.run is None
            if owns_service:
                after.callback(wandb.teardown)
            self._run = self._open(run, online=mode != "offline", owns_service=owns_service)
            self._after = after.pop_all()

    def _open(self, run: RunInfo, *, online: bool, owns_service: bool) -> Any:
        """Open the run online if that is requested and possible, else offline."""
        import wandb

        quiet: dict[str, Any] = {"silent": True, "console": "off", "disable_git": True, "x_disable_stats": True}
        options: dict[str, Any] = {
            "project": self.project,
            "entity": self.entity,
            "id": _wandb_id(run),
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
            obstacle = _unreachable(server, self.timeout) if _has_key(server) else "no API key was found"
            if not obstacle:
                try:
                    settings = wandb.Settings(**quiet, init_timeout=10 * self.timeout)
                    return wandb.init(mode="online", settings=settings, **options)
                except wandb.Error as error:
                    obstacle = textwrap.shorten(f"{error}", 120).rstrip(".")
                # The id of a run that could not start stays reserved until the service process has ended.
                if owns_service:
                    wandb.teardown()
                else:
                    options["id"] += "-offline"
            logging.getLogger("fervis").warning(
                "tracker=wandb: %s, so this run is recorded offline in %s; "
                "`fervis track %s tracker=wandb` sends it later.",
                obstacle,
                run.folder / "wandb",
                run.folder,
            )
        return wandb.init(mode="offline", settings=wandb.Settings(**quiet), **options)

    def log_metrics(self, metrics: Mapping[str, float], epoch: int | None = None) -> None:
        """Record metrics of an epoch as a row of curves over ``epoch``, and those of the run as its summary."""
        if self._run is None:
            return
        if epoch is None:
            self._run.summary.update(dict(metrics))
            return
        for name in metrics.keys() - self._epoch_metrics - {"epoch"}:
            self._run.define_metric(name, step_metric="epoch")
            self._epoch_metrics.add(name)
        self._run.log({**metrics, "epoch": epoch})

    def log_figure(self, name: str, figure: Figure) -> None:
        """Record the figure's file as it is, with its caption."""
        if self._run is not None:
            import wandb

            self._run.log({name: wandb.Image(str(figure.path), caption=figure.caption)})

    def log_images(self, rows: Sequence[ImageRow]) -> None:
        """Record one table, ``table_of_faces``: row number, face and map as images, then all values of the row."""
        if self._run is not None:
            import wandb

            names = list(dict.fromkeys(name for row in rows for name in row.values))
            table = wandb.Table(columns=[names[0], "face", "map", *names[1:]])
            for row in rows:
                heat = None if row.map is None else wandb.Image(row.map, caption=row.scale)
                first, *rest = (row.values.get(name) for name in names)
                table.add_data(first, wandb.Image(row.face), heat, *rest)
            self._run.log({"table_of_faces": table})

    def log_confusion(self, name: str, counts: NDArray[np.int64], classes: Sequence[str]) -> None:
        """Record the matrix as W&B's own plot, whose table holds every count."""
        if self._run is not None:
            import wandb

            pairs = np.argwhere(counts >= 0).repeat(counts.flatten(), axis=0)
            true, predicted = pairs[:, 0].tolist(), pairs[:, 1].tolist()
            plot = wandb.plot.confusion_matrix(y_true=true, preds=predicted, class_names=list(classes), title=name)
            self._run.log({name: plot})

    def log_artifact(self, name: str, kind: str, files: Mapping[str, Path]) -> None:
        """Record the files as an artifact of this kind; the same name again is its next version."""
        if self._run is not None:
            import wandb

            artifact = wandb.Artifact(re.sub(r"[^A-Za-z0-9_.-]+", "_", name), type=kind)
            for file, path in files.items():
                policy = "mutable" if path.stat().st_size <= COPY_LIMIT else "immutable"
                artifact.add_file(str(path.resolve()), name=file, policy=policy)
            self._run.log_artifact(artifact)

    def finish(self, ok: bool) -> None:
        """Close the run with exit code 0 or 1, and restore the environment of the process."""
        run, self._run = self._run, None
        self._epoch_metrics.clear()
        with self._after:
            if run is not None:
                run.finish(exit_code=0 if ok else 1)


def _wandb_id(run: RunInfo) -> str:
    """Return the id that W&B lists the run under.

    The same config alone and as a job of a sweep are two W&B runs in different groups, so the id of a sweep's job ends
    in a hash of the sweep's name; else one of the two would overwrite the other. The agent of a W&B sweep has chosen
    the id already.
    """
    if "WANDB_SWEEP_ID" in os.environ and "WANDB_RUN_ID" in os.environ:
        return os.environ["WANDB_RUN_ID"]
    return f"{run.id}-{hashlib.sha256(run.group.encode()).hexdigest()[:8]}" if run.group else run.id


def _restore_environment(before: dict[str, str]) -> None:
    """Give the ``WANDB_*`` environment variables the values that they had."""
    for name in [name for name in os.environ if name.startswith("WANDB_") and name not in before]:
        del os.environ[name]
    os.environ.update(before)


def _config_folder() -> Path:
    """Return the folder of W&B's own settings."""
    return Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()


def _has_key(server: str) -> bool:
    """Return whether the environment or netrc holds an API key for the server."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    files = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    for file in (Path(name).expanduser() for name in files if name):
        try:
            return netrc.netrc(str(file)).authenticators(urlsplit(server).hostname or "") is not None
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def _unreachable(server: str, timeout: float) -> str:
    """Return why the server cannot be reached, or an empty string; W&B itself would try for 15 s."""
    outcomes: list[str] = []

    def connect() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(server, method="HEAD"), timeout=timeout).close()
            outcomes.append("")
        except urllib.error.HTTPError:
            outcomes.append("")  # an error status still shows that the server responds
        except (OSError, ValueError) as error:
            outcomes.append(f"{server} cannot be reached ({getattr(error, 'reason', error)})")

    thread = threading.Thread(target=connect, daemon=True)  # a name lookup has no timeout of its own
    thread.start()
    thread.join(timeout)
    return outcomes[0] if outcomes else f"{server} does not answer within {timeout:g} s"
