"""Terminal output of commands: results on stdout, progress and notes on stderr.

Human-readable output goes through `echo` and `print_table`, which neutralize control characters. CSV and JSON are
written with click.echo.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import click

from ohlcv.cli.control_characters import displayable
from ohlcv.cli.streams import OutputError
from ohlcv.model.intervals import parse_time

if TYPE_CHECKING:
    from rich.table import Table

# Shows what a task is doing.
Progress = Callable[[str], None]
# Without a terminal, a long task prints a line this often.
LINE_SECONDS = 10.0


def echo(text: str, err: bool = False, keep: str = "") -> None:
    """Print human-readable text. Control characters are printed as escapes, except those to keep."""
    click.echo(displayable(text, sys.stderr if err else sys.stdout, keep), err=err)


@contextmanager
def show_progress(task: str, quiet: bool = False) -> Iterator[Progress]:
    """Show a running task on stderr: a spinner on a terminal, otherwise lines.

    The task may call the function it gets to show its current step.
    """
    if quiet:
        yield lambda _: None
        return
    begin = time.monotonic()
    if sys.stderr.isatty():
        with spinner(f"{task} …") as show:
            yield lambda step: show(f"{task}: {step} …")
    else:
        echo(f"{task} …", err=True)
        yield _step_lines(task)
    echo(f"{task}: {time.monotonic() - begin:.1f} s", err=True)


def _step_lines(task: str) -> Progress:
    printed = time.monotonic()

    def show(step: str) -> None:
        nonlocal printed
        if time.monotonic() - printed >= LINE_SECONDS:
            printed = time.monotonic()
            echo(f"{task}: {step} …", err=True)

    return show


@contextmanager
def spinner(text: str) -> Iterator[Progress]:
    """Show a spinner on a terminal, and return a function that changes its text."""
    from rich.console import Console
    from rich.text import Text

    # Text objects: rich would interpret brackets as markup.
    with Console(stderr=True).status(Text(displayable(text, sys.stderr))) as status:
        yield lambda changed: status.update(Text(displayable(changed, sys.stderr)))


@contextmanager
def report_of(done: str) -> Iterator[None]:
    """Raise an error that says what has been done if its report cannot be printed."""
    try:
        yield
        sys.stdout.flush()
    except OutputError as error:
        raise OutputError(error.cause, f"{done}, but the report could not be printed") from None


def note(text: str) -> None:
    """Print a note on stderr, so that stdout contains only the result."""
    echo(f"note: {text}", err=True)


def parse_time_option(option: str, text: str) -> datetime:
    """Return the time given by an option; print a note if it has no time zone."""
    parsed, without_zone = parse_time(text)
    if without_zone:
        note(f"{option} {text} has no time zone: UTC is assumed")
    return parsed


def new_table(title: str, *columns: str | tuple[str]) -> Table:
    """Return a table with a title and columns; those in tuples have numbers."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        if isinstance(column, str):
            table.add_column(column)
        else:
            table.add_column(*column, justify="right")
    return table


def print_table(table: Table, full_width: bool = True) -> None:
    """Print a table at its full width. Rich would otherwise cut digits to fit the width of the terminal."""
    from ohlcv.cli.table_console import TableConsole

    TableConsole(width=10_000 if full_width else None).print(table)
