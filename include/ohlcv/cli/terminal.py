"""What commands show: results on stdout, progress and notes on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table


@contextmanager
def working(task: str, quiet: bool = False) -> Iterator[None]:
    """Show that something is going on: a spinner with seconds on a terminal, two plain lines elsewhere."""
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
    """Tell something beside the result, so that the result can be piped on."""
    click.echo(f"note: {text}", err=True)


def print_table(table: Table) -> None:
    """Print a table as wide as it is: narrowed to the screen, rich would cut digits off."""
    from rich.console import Console

    Console(width=10_000, markup=False, emoji=False, highlight=False).print(table)
