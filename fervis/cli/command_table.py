"""The commands of the command line, as data: help and completion read it without importing what the commands need."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field

CLEAN_WORDS = {
    "leftovers": "what killed runs left half-written, and folders in which nothing came to be",
    "failed": "jobs of sweeps that failed",
    "epochs": "weights of epochs that no answer was made from, but for first, best and last",
    "runs": "answers, finished or not",
    "sweeps": "sweeps with all of their jobs",
    "trainings": "summaries of trainings that differ in the seed",
    "checkpoints": "trained networks, finished or not",
    "cache": "parsed data and hashes of files, which are made again when they are needed",
    "locks": "files by which processes keep out of each other's way",
}
"""The words for what ``clean`` can remove, in the order in which all of it is removed."""


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    Attributes:
        function: ``module:function``, which takes the arguments that follow the command.
        summary: one sentence for the overview.
        usage: how it is used.
        flags: its own flags, with their meaning.
        words: words that can follow it, with their meaning.
        settings: whether it takes a question's settings, as ``key=value``.
        folders: whether it takes folders.
    """

    function: str
    summary: str
    usage: str
    flags: dict[str, str] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    settings: bool = False
    folders: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        """Run the command."""
        module, _, name = self.function.partition(":")
        getattr(importlib.import_module(module), name)(list(arguments))


COMMANDS = {
    "list": Command(
        function="fervis.cli.commands:print_options",
        summary="Print everything there is to choose, a line each.",
        usage="""\
list prints all kinds, list explainer model those kinds. What is printed is chosen as explainer=lime.
list --config-dir <folder> includes the options of a folder of your own.""",
    ),
    "layers": Command(
        function="fervis.cli.commands:print_layers",
        summary="Print a network's layers: names for layer=, paths, shapes, parameters.",
        usage="""\
layers prints those of the default network, layers model=resnet18 those of another,
layers dataset=fer2013 dataset.path=fer2013.csv those of the network for that data.""",
        settings=True,
    ),
    "audit": Command(
        function="fervis.cli.commands:print_audit",
        summary="Print what is in a data set: sizes, classes, duplicates, conflicts, leaks.",
        usage="audit dataset=fer2013 dataset.path=fer2013.csv examines your own FER2013.",
        settings=True,
    ),
    "train": Command(
        function="fervis.cli.commands:train_command",
        summary="Train a network, unless it is trained, and print how good it is.",
        usage="""\
train dataset=fer2013 dataset.path=fer2013.csv trainer=standard trains one; an interrupted training
resumes from its last complete epoch. train -m seed=0,1,2 trains one for each value.

Trainings of a sweep that differ only in the seed are summarized together: mean, standard deviation
and ensemble. The last line printed is the folder of the training, or of the last summary.""",
        settings=True,
    ),
    "report": Command(
        function="fervis.cli.commands:report_command",
        summary="Write the page of a run or a sweep again, from the files in its folder.",
        usage="""\
report outputs/runs/vgg8-saliency-1f0c2a9b writes that run's report.html, report outputs/sweeps/<name>
the index.html of a sweep and the page of each of its jobs. Prints their paths.""",
        folders=True,
    ),
    "table": Command(
        function="fervis.reporting.number_table:table_command",
        summary="Print every number of every answer as one CSV table, a row per run folder.",
        usage="""\
table outputs/sweeps/<name> prints a row per answer of a sweep: its folder, the settings that differ, and
every number. table outputs prints those of all answers; run folders can be named too.""",
        flags={"--to": "write it into this file, .csv, or .parquet where pyarrow is installed"},
        folders=True,
    ),
    "wandb-report": Command(
        function="fervis.reporting.wandb_report:wandb_report_command",
        summary="Lay out a Weights & Biases report of a sweep, and save it with --save.",
        usage="wandb-report outputs/sweeps/<name> prints what the report shows, with --save it is saved on the server.",
        flags={
            "--save": "save it on the W&B server",
            "--entity": "user or team; default: tracker.entity, then the account's own",
            "--project": "default: tracker.project, then fervis",
        },
        folders=True,
    ),
    "track": Command(
        function="fervis.runs.track:track_command",
        summary="Send a finished run to a tracker, from the files in its folder.",
        usage="""\
track outputs/runs/<name> tracker=wandb sends the run's config, numbers, figures and files, from any
machine and as often as needed; the data and the network are not.""",
        folders=True,
        settings=True,
    ),
    "merge": Command(
        function="fervis.cli.commands:merge_command",
        summary="Join the shards of a question into its answer, and print its folder.",
        usage="""\
shard=1/4, shard=2/4, ... split the faces of a question over jobs; each prints the question's run
folder. merge outputs/runs/<name> makes the answer of them, the same to the byte as that of one job.
Further folders, copied from other machines, complete the first. merge key=value ... finds the folder
by the question. A folder's own word is not enough to run a network's Python file; type the question, or
give --trust.""",
        folders=True,
        settings=True,
        flags={"--trust": "run the Python code that the folder's config names"},
    ),
    "clean": Command(
        function="fervis.cli.commands:clean_command",
        summary="List what the outputs folder holds, and remove leftovers of killed runs, or more.",
        usage="""\
clean removes what killed runs left half-written. On request, and after asking, it removes more; any
of these words can stand together:

{words}

What is removed is printed first. What a running process works on stays; links are not followed, and
nothing goes that fervis did not make.""",
        words=CLEAN_WORDS | {"all": "everything"},
        flags={"--yes": "remove without asking, as where no terminal is", "--dry-run": "print what would be removed"},
    ),
    "ship": Command(
        function="fervis.cli.ship:ship_training",
        summary="Train a network and put its weights into the package, for maintainers.",
        usage="""\
ship dataset=fer2013 dataset.path=fer2013.csv trainer=strong trains the question's network unless it is
trained, converts it to the precision in which it is shipped, evaluates that, and writes best epoch,
first epoch and model card. ship ... -- <what differs in a second stage> trains in two stages.""",
        settings=True,
    ),
    "completion": Command(
        function="fervis.cli.completion:completion",
        summary="Print the script by which a shell completes fervis at TAB.",
        usage="""\
In bash: eval "$(fervis completion bash)"; in zsh, after compinit: eval "$(fervis completion zsh)"; in
fish: fervis completion fish | source. Put it in the shell's start file for every new shell.""",
        words={"bash": "", "zsh": "", "fish": ""},
    ),
}
