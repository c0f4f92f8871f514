"""TAB: complete the command line ``fervis ...`` fast, since neither Hydra nor torch is imported.

A shell calls ``fervis completion query <words>``, the last of which is being typed, and gets a candidate a line, with a
tab and what it is where that is known. Names and settings are read from the YAML files; the values that a setting can
have are those that its comment lists (``none | loss | sampling: ...``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fervis.cli.arguments import FLAGS
from fervis.cli.command_table import COMMANDS
from fervis.cli.knob_docs import knob_constraints
from fervis.cli.option_docs import config_setting_docs, default_settings, option_setting_docs
from fervis.core.knobs import choices
from fervis.core.registry import KINDS, PACKAGE_FOLDER, option_files, option_summary, preset_files
from fervis.errors import unknown_name
from fervis.runs.overrides import PATH_KEYS

LAYER_NAMES = PACKAGE_FOLDER / "cli" / "layer_names.json"
PATH_PLACEHOLDERS = ("input", "last_conv", "last_map", "all", "each")
SHELLS = ("bash", "zsh", "fish")

BASH = r"""_fervis() {
    local line=${COMP_LINE:0:COMP_POINT} word found
    local -a words
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word=${words[${#words[@]}-1]}
    mapfile -t COMPREPLY < <(fervis completion query "${words[@]:1}" 2>/dev/null | cut -f1)
    # readline completes what stands after the last = or :, where these break words
    local shown=$word
    [[ $COMP_WORDBREAKS == *=* && $shown == *=* ]] || shown=""
    shown=${shown%"${shown##*=}"}
    [[ $COMP_WORDBREAKS == *:* && $word == *:* ]] && shown=${word%"${word##*:}"}
    COMPREPLY=("${COMPREPLY[@]#"$shown"}")
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=./] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -F _fervis fervis
"""
ZSH = r"""#compdef fervis
_fervis() {
    local line
    local -a whole part
    while IFS= read -r line; do
        line=${line%%$'\t'*}
        if [[ $line == *[=./] ]]; then part+=("$line"); else whole+=("$line"); fi
    done < <(fervis completion query "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( $#part )) && compadd -S '' -- "${part[@]}"
    (( $#whole )) && compadd -- "${whole[@]}"
    return 0
}
compdef _fervis fervis
"""
FISH = r"""function __fervis
    set -l words (commandline -opc)[2..-1]
    fervis completion query $words (commandline -ct) 2>/dev/null
end
complete -c fervis -f -a '(__fervis)'
"""


def completion(arguments: Sequence[str]) -> None:
    """Print a shell's script, or with ``query`` the candidates for the last of the words that follow.

    Raises:
        ConfigError: another word than a shell's name.
    """
    word, *rest = arguments or [""]
    if word == "query":
        found = candidates(rest[:-1], rest[-1] if rest else "")
        print("\n".join(f"{name}\t{about}" if about else name for name, about in found.items()))
    elif word in SHELLS:
        print({"bash": BASH, "zsh": ZSH, "fish": FISH}[word], end="")
    else:
        raise unknown_name("completion", word, SHELLS)


def candidates(before: Sequence[str], word: str) -> dict[str, str]:
    """Return what a word can be completed to, each with its description.

    Args:
        before: the words before it, without ``fervis``.
        word: what is typed of it.

    Example:
        >>> candidates(["explainer=lime"], "explainer.fi")
        {'explainer.fill=': 'what hides a superpixel: mean (its own), or a pixel value such as 0.5'}
    """
    found = dict(_known_candidates(before, word))
    return {name: about for name, about in found.items() if name.startswith(word) and name != word}


def _known_candidates(before: Sequence[str], word: str) -> Iterator[tuple[str, str]]:
    command = COMMANDS.get(before[0]) if before else None
    flag = next((flag for flag in FLAGS if before and before[-1] in flag.names), None)
    if flag and flag.values:
        free = flag.values[0].startswith("<")
        yield from ((value, "") for value in (file_candidates(word) if free else flag.values))
    elif word.startswith("-"):
        own = command.flags if command else {}
        yield from own.items() if own else ((flag.names[0], flag.meaning) for flag in FLAGS if flag.listed)
    elif before and before[0] == "list":
        yield from ((kind, "") for kind in (*KINDS, "experiment"))
    elif command and command.folders and "=" not in word:
        yield from ((path, "") for path in file_candidates(word))
        yield from _key_candidates(word, _chosen_options(before)) if command.settings else ()
    elif "=" in word:
        yield from _value_candidates(word, _chosen_options(before))
    elif command and command.words:
        yield from ((name, meaning) for name, meaning in command.words.items() if name != "locks")
        yield from (("outputs=", ""),) if before[0] == "clean" else ()
    else:
        if not before:
            yield from ((name, command.summary) for name, command in COMMANDS.items())
        yield from _key_candidates(word, _chosen_options(before))


def _key_candidates(word: str, chosen: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Keys of the question, and after ``explainer.`` those of the chosen explainer."""
    kind, dot, _ = word.lstrip("+~").partition(".")
    sign = word[: len(word) - len(word.lstrip("+~"))]
    if dot and kind in KINDS:
        settings = option_setting_docs(kind, chosen.get(kind, ""))
        yield from ((f"{sign}{kind}.{key}=", about) for key, (_, about) in settings.items())
        return
    for name in (*KINDS, "experiment"):
        yield f"{sign}{name}=", ""
        if name in KINDS and kind == name:  # else every TAB would stop before the = or the dot
            yield f"{sign}{name}.", f"settings of {chosen.get(name, 'it')}"
    yield from ((f"{sign}{key}=", about) for key, (_, about) in config_setting_docs().items())


def _value_candidates(word: str, chosen: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Values of a key; of a list or a sweep, that of its last item."""
    key, _, value = word.partition("=")
    bare = key.lstrip("+~")
    start = word[: len(word) - len(re.split(r"[,\[]", value)[-1])]
    if bare in (*KINDS, "experiment"):
        named = preset_files() if bare == "experiment" else option_files(bare)
        yield from ((f"{start}{name}", option_summary(path)) for name, path in named.items())
        return
    kind, _, name = bare.rpartition(".")
    settings = option_setting_docs(kind, chosen.get(kind, "")) if kind in KINDS else config_setting_docs()
    if name in settings:
        stated = knob_constraints(kind, chosen.get(kind, "")).get(name) if kind in KINDS else None
        listed = map(str, choices(stated)) if stated else ()
        values = dict.fromkeys([*documented_values(*settings[name]), *listed])
        yield from ((f"{start}{value}", "") for value in values)
    if bare == "layer":
        names = json.loads(LAYER_NAMES.read_text(encoding="utf-8")).get(chosen.get("model"), [])
        yield from ((f"{start}{one}", "") for one in (*names, *PATH_PLACEHOLDERS))
    if name in PATH_KEYS:
        yield from ((f"{key}={path}", "") for path in file_candidates(value))


def documented_values(default: Any, comment: str) -> list[str]:
    """Return the values of a setting: those that its comment lists, or true and false, and its default.

    Example:
        >>> documented_values("none", "none | loss | sampling: how rare classes are weighed up")
        ['none', 'loss', 'sampling']
    """
    if isinstance(default, bool):
        return ["true", "false"]
    pieces = [piece.partition(": ")[0].strip() for piece in comment.split("|")] if "|" in comment else []
    found = [piece for piece in pieces if re.fullmatch(r"[\w:.-]+", piece)]
    own = [str(default)] if isinstance(default, str | int | float) and str(default) else []
    return list(dict.fromkeys([*own, *found]))


def file_candidates(word: str) -> list[str]:
    """Return the files and folders whose path begins with the word, folders with a slash."""
    place = Path(word).expanduser()
    folder = place if word.endswith("/") or not word else place.parent
    typed = word[: word.rfind("/") + 1]
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return []
    hidden = word.rpartition("/")[2].startswith(".")
    return [f"{typed}{path.name}{'/' if path.is_dir() else ''}" for path in found if hidden or path.name[0] != "."]


def _chosen_options(before: Sequence[str]) -> dict[str, str]:
    """Return the options that the words choose, and the defaults of the kinds they do not name."""
    said = {key: value for key, _, value in (one.partition("=") for one in before) if key in KINDS}
    return {**{kind: name for kind, name in default_settings().items() if isinstance(name, str)}, **said}
