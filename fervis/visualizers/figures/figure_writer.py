"""Write the figures of a run into its folder, each with its caption."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Annotated

from fervis.core.knobs import Choice, Whole
from fervis.core.results import Figure
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.style import plain_style

Dpi = Annotated[int, Whole(30, 1200)]
"""Dots per inch of the figures that are written."""

MapScale = Annotated[str, Choice("own", "shared")]
"""Whether each map is drawn on its own range or all on one."""

FigureLimit = Annotated[int, Whole(0, 1000)]
"""Up to how many figures of single items are drawn."""


class FigureWriter:
    """Writes sheets as PNG files; inside its ``with`` block figures have fervis' style.

    Args:
        folder: where to write.
        dpi: dots per inch.
        reserved: file names that ``name`` must not give.

    Attributes:
        figures: what has been written, in order.
    """

    def __init__(self, folder: Path, dpi: int, reserved: set[str] | None = None) -> None:
        self.folder, self.dpi = folder, dpi
        self.figures: list[Figure] = []
        self._used = set(reserved or ())
        self._style = plain_style()

    def __enter__(self) -> FigureWriter:
        self._style.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._style.__exit__(kind, error, trace)

    def name(self, *parts: object) -> str:
        """Return a file name from its parts that no other figure of this writer has."""
        return canvas.file_name(*parts, used=self._used)

    def save(self, sheet: Sheet, name: str, caption: str) -> Figure:
        """Write ``<name>.png`` and return it with its caption."""
        path = self.folder / f"{name}.png"
        canvas.save_figure(sheet, path, self.dpi)
        self.figures.append(Figure(path, caption))
        return self.figures[-1]
