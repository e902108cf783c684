"""Terminal output of commands: results on stdout, progress and notes on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import click

from ohlcv.model.intervals import parse_time

if TYPE_CHECKING:
    from rich.table import Table


@contextmanager
def show_progress(task: str, quiet: bool = False) -> Iterator[None]:
    """Show a running task on stderr: a spinner on a terminal, otherwise a line at its start and its end."""
    if quiet:
        yield
        return
    begin = time.monotonic()
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status(f"{task} …"):
            yield
    else:
        click.echo(f"{task} …", err=True)
        yield
    click.echo(f"{task}: {time.monotonic() - begin:.1f} s", err=True)


def note(text: str) -> None:
    """Print a note on stderr, so that stdout contains only the result."""
    click.echo(f"note: {text}", err=True)


def parse_time_option(option: str, text: str) -> datetime:
    """Return the time given by an option; print a note if it has no time zone."""
    parsed, without_zone = parse_time(text)
    if without_zone:
        note(f"{option} {text} has no time zone: UTC is assumed")
    return parsed


def print_table(table: Table) -> None:
    """Print a table at its full width. Rich would otherwise cut digits to fit the width of the terminal."""
    from rich.console import Console

    Console(width=10_000, markup=False, emoji=False, highlight=False).print(table)
