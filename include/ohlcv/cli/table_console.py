"""Rich console that prints tables without control characters. Rich is imported only when a table is printed."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from ohlcv.cli.control_characters import displayable


class TableConsole(Console):
    """Console on stdout that takes cells literally."""

    def __init__(self, width: int | None = None) -> None:
        super().__init__(width=width, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text of a cell or title; rich calls this before it computes the layout."""
        # A cell with line breaks has several lines in its column.
        return super().render_str(displayable(text, self.file, keep="\n\t"), **options)
