"""The words of a command line: flags with their values, a command, overrides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fervis.core.registry import config_sources
from fervis.errors import ConfigError, nearest_name


@dataclass(frozen=True)
class Flag:
    """A flag of the command line.

    Attributes:
        names: the long one first.
        meaning: for help and completion.
        values: what follows it; empty where nothing does, ``<...>`` for what is free.
        optional: whether the value can be left away.
        listed: whether help and completion show it.
    """

    names: tuple[str, ...]
    meaning: str
    values: tuple[str, ...] = ()
    optional: bool = False
    listed: bool = True


FLAGS = (
    Flag(("--help", "-h"), "this page; after a choice its settings, after a command its use"),
    Flag(("--multirun", "-m"), "a sweep over the values that are given as a,b,c"),
    Flag(("--quiet", "-q"), "no progress bars, and no words but warnings and the last line"),
    Flag(("--cfg", "-c"), "print the whole question and do nothing", ("job", "hydra", "all")),
    Flag(("--config-dir", "-cd"), "a folder with options and presets of your own", ("<folder>",)),
    Flag(("--version",), "of fervis, Python, torch and Hydra"),
    Flag(("--hydra-help",), "Hydra's own flags"),
    Flag(("--config-path", "-cp"), "a folder of your own that comes before fervis's", ("<folder>",), listed=False),
    Flag(("--config-name", "-cn"), "the name of a primary config of your own", ("<name>",), listed=False),
    Flag(("--package", "-p"), "the part of the config that --cfg prints", ("<key>",), listed=False),
    Flag(
        ("--info", "-i"),
        "how the question is composed",
        ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
        optional=True,
        listed=False,
    ),
    Flag(("--resolve",), "with --cfg, what interpolations stand for", listed=False),
    Flag(("--run", "-r"), "one run, no sweep", listed=False),
    Flag(("--shell-completion", "-sc"), "Hydra's own completion", listed=False),
)
SOURCE_FLAGS = ("--config-dir", "--config-path", "--config-name")
_BY_NAME = {name: flag for flag in FLAGS for name in flag.names}


def split_sources(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without the flags that say where configs come from, which are put into effect.

    Raises:
        ConfigError: a flag without its value, or a folder that does not exist.
    """
    folders: list[Path] = []
    primary: list[Path] = []
    rest: list[str] = []
    config_sources.name = "config"
    for words in _grouped(arguments):
        name, value = words[0], words[-1]
        if name == "--config-name":
            config_sources.name = value.removesuffix(".yaml")
        elif name in SOURCE_FLAGS:
            (folders if name == "--config-dir" else primary).append(_folder(name, value))
        else:
            rest += words
    config_sources.folders, config_sources.primary = tuple(folders), tuple(primary)
    return rest


def _folder(flag: str, value: str) -> Path:
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"{flag} {value}: there is no such folder.")
    return folder.resolve()


def _grouped(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Yield each argument alone, flags of ``SOURCE_FLAGS`` by their long names together with their values."""
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        flag = _BY_NAME.get(name) if word.startswith("-") else None
        if flag is None or flag.names[0] not in SOURCE_FLAGS:
            yield [word]
            continue
        given = value if equals else next(words, "")
        if not given:
            raise ConfigError(f"{name}: expected {flag.values[0]} after it.")
        yield [flag.names[0], given]


def hydra_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the flags of a question as Hydra reads them, and its overrides, which must stand together.

    Raises:
        ConfigError: a flag that does not exist, or one without its value.
    """
    flags: list[str] = []
    overrides: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            overrides.append(word)
            continue
        name, equals, value = word.partition("=")
        if name == "--experimental-rerun":
            raise ConfigError(f"{name}: it runs what a pickle holds; a run's own command stands in its manifest.json.")
        if name not in _BY_NAME:
            known = [flag.names[0] for flag in FLAGS]
            raise ConfigError(f"{name}: there is no such flag.{nearest_name(name, known)} Known: {', '.join(known)}.")
        flag = _BY_NAME[name]
        if flag.values and not equals and words and _is_value(flag, words[0]):
            value = words.pop(0)
        if flag.values and not value and not flag.optional:
            raise ConfigError(f"{name}: expected {' or '.join(flag.values)} after it.")
        if value and flag.values and flag.values[0][0] != "<" and value not in flag.values:
            raise ConfigError(f"{name}={value}: expected {', '.join(flag.values)}.{nearest_name(value, flag.values)}")
        flags.append(f"{flag.names[0]}={value}" if value else flag.names[0])
    return flags, overrides


def _is_value(flag: Flag, word: str) -> bool:
    """Whether a word that follows a flag is its value and no override or flag."""
    if word.startswith("-"):
        return False
    return word in flag.values or (not flag.optional and "=" not in word)
