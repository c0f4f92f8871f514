"""A Parquet file with paths of pictures or with the pictures themselves, as the datasets library writes them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fervis.datasets.tables.csv_table import picture_files
from fervis.errors import ConfigError

_ROWS_AT_ONCE = 256


class ParquetTable:
    """A Parquet file; columns of pictures are binary, ``{bytes, path}``, or text with paths.

    Args:
        file: the file.

    Raises:
        ConfigError: pyarrow is not installed, or the file is no Parquet.
    """

    def __init__(self, file: Path) -> None:
        try:
            parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            raise ConfigError(f"{file}: Parquet files need pyarrow: pip install 'fervis-xai[parquet]'.") from error
        self.file = file
        try:
            self._opened = parquet.ParquetFile(file)
        except Exception as error:  # pyarrow's own errors, which have no common class with those of files
            raise ConfigError(f"{file}: this is no whole Parquet file ({str(error).splitlines()[0]}).") from error
        self.columns: tuple[str, ...] = tuple(self._opened.schema_arrow.names)

    def values(self, column: str) -> list[Any]:
        """Return the values of a column."""
        return self._opened.read(columns=[column]).column(0).to_pylist()

    def names(self, column: str) -> list[str]:
        """Return the paths, or the numbers of the rows where the pictures have none."""
        if self.holds_paths(column):
            return [str(name).replace("\\", "/") for name in self.values(column)]
        if not self._has_paths(column):
            return [str(row) for row in range(self._opened.metadata.num_rows)]
        paths = [value["path"] for value in self._opened.read(columns=[f"{column}.path"]).column(0).to_pylist()]
        return [path or str(row) for row, path in enumerate(paths)]

    def pictures(self, column: str, folder: Path) -> Iterator[bytes | None]:
        """Yield the bytes of each row's picture, a few rows at a time."""
        if self.holds_paths(column):
            yield from picture_files(self.file, self.names(column), folder)
            return
        for batch in self._opened.iter_batches(_ROWS_AT_ONCE, columns=[column]):
            for value in batch.column(0).to_pylist():
                yield value.get("bytes") if isinstance(value, dict) else value

    def label_names(self, column: str) -> tuple[str, ...]:
        """Return the names of a ``ClassLabel``, which the datasets library writes into the file."""
        written = (self._opened.schema_arrow.metadata or {}).get(b"huggingface")
        features = json.loads(written)["info"]["features"] if written else {}
        return tuple((features.get(column) or {}).get("names") or ())

    def holds_paths(self, column: str) -> bool:
        """Whether a column is text, so that the pictures are files."""
        return "string" in str(self._opened.schema_arrow.field(column).type)[:12]

    def _has_paths(self, column: str) -> bool:
        kind = self._opened.schema_arrow.field(column).type
        return any(kind.field(place).name == "path" for place in range(kind.num_fields))
