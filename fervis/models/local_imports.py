"""The Python files behind a user's own network: which ones a file imports, and running them."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from fervis.errors import ConfigError, nearest_name

_loaded_neighbours: set[str] = set()


def imported_files(file: Path, roots: Sequence[Path], package: str = "") -> list[Path]:
    """Return a Python file and all local files that it imports, directly or through another, in sorted order.

    Imports are read off the syntax tree, wherever in the file they stand, so nothing is run. An import that no root
    holds is of an installed package and counts for nothing; a file that cannot be parsed imports nothing.

    Args:
        file: the Python file.
        roots: folders in which absolute imports are sought, as on ``sys.path``.
        package: dotted name of the package that contains the file, against which relative imports are resolved.
    """
    seen: dict[Path, str] = {}
    waiting = [(file, package)]
    while waiting:
        path, inside = waiting.pop()
        if path.resolve() not in seen and path.is_file():
            seen[path.resolve()] = str(path)
            for name in _imports(path, inside):
                waiting.extend(_files_of(name, roots))
    first = seen.pop(file.resolve(), str(file))
    return [Path(first), *map(Path, sorted(seen.values()))]


def _imports(path: Path, package: str) -> Iterator[str]:
    """Yield the dotted names that a file imports; ``from a import b`` may mean the module ``a.b``."""
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level and package else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" if source else alias.name for alias in node.names)


def _files_of(name: str, roots: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Yield the files that importing a dotted name runs, ``a`` before ``a.b``, each with its package."""
    parts = name.split(".")
    for root in roots:
        for depth in range(1, len(parts) + 1):
            place = root.joinpath(*parts[:depth])
            yield place / "__init__.py", ".".join(parts[:depth])
            yield place.with_name(f"{place.name}.py"), ".".join(parts[: depth - 1])


def import_roots(file: Path) -> list[Path]:
    """Return the folders in which a user's file finds local modules.

    They are its own, and those of ``sys.path`` that no installation owns, such as the working directory.
    """
    installed = [Path(prefix).resolve() for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix}]
    fervis = Path(__file__).resolve().parents[2]
    roots = [file.parent.resolve()]
    for entry in sys.path:
        folder = Path(entry).resolve()
        ours = folder == fervis and not _is_below(file.resolve(), fervis)
        if folder.is_dir() and not ours and not any(_is_below(folder, prefix) for prefix in installed):
            roots.append(folder)
    return list(dict.fromkeys(roots))


def _is_below(path: Path, folder: Path) -> bool:
    return folder == path or folder in path.parents


def local_files(file: Path) -> list[Path]:
    """Return a user's file and the local modules that it imports."""
    return imported_files(file, import_roots(file))


def module_files(name: str) -> list[Path]:
    """Return the file of an installed module and those of its own package that it imports.

    Raises:
        ModuleNotFoundError: there is no such module, or one of its own imports fails.
    """
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    if not spec.origin or not Path(spec.origin).is_file():
        return []
    origin, depth = Path(spec.origin), name.count(".") + (Path(spec.origin).name == "__init__.py")
    above = origin.parents[min(depth, len(origin.parents) - 1)]
    package = name if origin.name == "__init__.py" else name.rpartition(".")[0]
    top = name.partition(".")[0]
    files = imported_files(origin, [above], package)
    own = [path for path in files[1:] if path.stem == top or above / top in path.parents]
    parents = [init for init, _ in _files_of(package, [above]) if init.name == "__init__.py" and init.is_file()]
    return list(dict.fromkeys([origin, *sorted({*own, *(init for init in parents if init != origin)})]))


def load_file(path: Path) -> ModuleType:
    """Run a Python file as a module; it can import its neighbours.

    A neighbour that another file brought in is imported afresh: ``blocks.py`` of one folder is not that of another.

    Raises:
        ConfigError: there is no such file, or it cannot be run: file, line and reason.
    """
    if not path.is_file():
        folder = path.parent
        siblings = [entry.name for entry in folder.iterdir() if entry.suffix == ".py"] if folder.is_dir() else []
        what = "this is a folder, and a Python file (.py) is expected" if path.is_dir() else "there is no such file"
        raise ConfigError(f"model.path={path}: {what}.{nearest_name(path.name, siblings)}")
    name = f"fervis_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"model.path={path}: expected a Python file, ending in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses search their module
    for neighbour in _loaded_neighbours:
        sys.modules.pop(neighbour, None)
    _loaded_neighbours.clear()
    with importing_from(path), user_code(f"model.path={path}", local_files(path)):
        spec.loader.exec_module(module)
    return module


@contextmanager
def importing_from(path: Path) -> Iterator[None]:
    """Let the code inside import the neighbours of a file."""
    before = set(sys.modules)
    folder = str(path.parent.resolve())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
        local = {str(file.resolve()) for file in local_files(path)}
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None)) in local:
                _loaded_neighbours.add(name)


@contextmanager
def user_code(key: str, files: Sequence[Path]) -> Iterator[None]:
    """Run a user's code without command-line arguments; any error becomes one sentence with its file and line.

    Args:
        key: the setting that named the code, as the sentence begins.
        files: the user's own files, in which the line is sought.

    Raises:
        ConfigError: the code raised, or ended the program.
    """
    arguments, errors = sys.argv, io.StringIO()
    sys.argv = [str(files[0]) if files else ""]
    usage = ""
    try:
        with contextlib.redirect_stderr(errors):
            yield
    except (KeyboardInterrupt, ConfigError):
        raise
    except BaseException as error:
        # argparse writes its usage before it ends the program; the sentence includes it in one line.
        usage = errors.getvalue() if isinstance(error, SystemExit) else ""
        raise ConfigError(f"{key}: {_where(error, files)}{_reason(error, usage)}.") from error
    finally:
        sys.argv = arguments
        if not usage:
            sys.stderr.write(errors.getvalue())


def _where(error: BaseException, files: Sequence[Path]) -> str:
    """``net.py, line 3: ``, the deepest line of the user's own files that an error passed."""
    own = {str(path.resolve()): path.name for path in files}
    if isinstance(error, SyntaxError) and error.filename:
        return f"{own.get(str(Path(error.filename).resolve()), error.filename)}, line {error.lineno}: "
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if str(Path(frame.filename).resolve()) in own]
    return f"{own[str(Path(inside[-1].filename).resolve())]}, line {inside[-1].lineno}: " if inside else ""


def _reason(error: BaseException, written: str) -> str:
    text = str(error.msg if isinstance(error, SyntaxError) else error).strip().partition("\n")[0].rstrip(".")
    if isinstance(error, SystemExit):
        last = (written.strip().splitlines() or [""])[-1].rstrip(".")
        return f"it ends the program (sys.exit){f' with {last!r}' if last else ''}, and is to define a network"
    return f"{type(error).__name__}{f': {text}' if text else ''}"
