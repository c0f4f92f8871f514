"""A CSV file with paths of pictures."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from fervis.errors import ConfigError


class CsvTable:
    """A CSV file with a header, in UTF-8; commas, semicolons or tabs part its cells.

    Args:
        file: the file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        text = file.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = max(",;\t", key=first.count)
        header, *rows = list(csv.reader(text.splitlines(), delimiter=delimiter)) or [[]]
        self.columns = tuple(name.strip() for name in header)
        self._rows = [row for row in rows if row]
        for number, row in enumerate(self._rows, 2):
            if len(row) != len(self.columns):
                raise ConfigError(f"{file}, line {number}: expected {len(self.columns)} cells, not {len(row)}.")

    def values(self, column: str) -> list[str]:
        """Return the texts of a column."""
        place = self.columns.index(column)
        return [row[place].strip() for row in self._rows]

    def names(self, column: str) -> list[str]:
        """Return the paths as they stand in the file, with ``/`` between their parts."""
        return [name.replace("\\", "/") for name in self.values(column)]

    def pictures(self, column: str, folder: Path) -> Iterator[bytes | None]:
        """Yield the bytes of the files, whose paths start at ``folder``.

        Raises:
            ConfigError: a path leads out of ``folder``, so that a change of the file would not be seen.
        """
        yield from picture_files(self.file, self.names(column), folder)

    def label_names(self, column: str) -> tuple[str, ...]:
        """Return no names: a CSV file does not state them."""
        return ()


def picture_files(table: Path, names: list[str], folder: Path) -> Iterator[bytes | None]:
    """Yield the bytes of files below ``folder``, None for one that is not there.

    Raises:
        ConfigError: a path leads out of ``folder``, so that a change of the file would not be seen.
    """
    root = folder.resolve()
    for name in names:
        file = (root / name).resolve()
        if not file.is_relative_to(root):
            raise ConfigError(f"{table}: the path {name} leads out of {folder}; say where paths start: dataset.root=.")
        yield file.read_bytes() if file.is_file() else None
