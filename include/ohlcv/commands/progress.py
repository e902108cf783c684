"""Progress on stderr, for anything that takes longer than two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console


@contextmanager
def working(task: str, quiet: bool = False) -> Iterator[None]:
    """Show that something is going on: a spinner with seconds on a terminal, two plain lines elsewhere."""
    if quiet:
        yield
        return
    begin = time.monotonic()
    if sys.stderr.isatty():
        with Console(stderr=True).status(f"{task} …"):
            yield
    else:
        click.echo(f"{task} …", err=True)
        yield
    click.echo(f"{task}: {time.monotonic() - begin:.1f} s", err=True)


def note(text: str) -> None:
    """Tell something beside the result, so that the result can be piped on."""
    click.echo(f"note: {text}", err=True)
