"""Tables of results for pandas, which is optional."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from fervis.errors import ConfigError


def data_frame(columns: Mapping[str, Any]) -> Any:
    """Return a pandas table of these columns.

    Raises:
        ConfigError: pandas is not installed.
    """
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise ConfigError("to_dataframe: the package pandas is not installed; `pip install pandas` adds it.") from error
    return pandas.DataFrame(dict(columns))
