"""`ohlcv health`: is the house in order."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

import click
from rich import box
from rich.table import Table

from ohlcv.cli.terminal import print_table, working
from ohlcv.config.settings import load_settings


@click.command()
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def health(form: str) -> int:
    """Show age of candles, runs of the last day and their times, Spark's workers, and storage.

    Exits with 1 when a limit is crossed. A market in which nobody trades is `quiet`, not late.
    """
    from ohlcv.monitoring.health import health as look

    settings = load_settings()
    with working("looking", quiet=form == "json"):
        measures = look(settings, datetime.now(UTC))
    if form == "json":
        click.echo(json.dumps([asdict(measure) for measure in measures]))
    else:
        table = Table(title="Health", title_justify="left", box=box.SIMPLE_HEAD)
        for name in ("", "of", "what", "found", "should be"):
            table.add_column(name)
        for measure in measures:
            table.add_row(
                measure.state.upper() if measure.state == "alert" else measure.state,
                measure.subject,
                measure.aspect,
                measure.found,
                measure.target,
            )
        print_table(table)
    return 1 if any(measure.state == "alert" for measure in measures) else 0
