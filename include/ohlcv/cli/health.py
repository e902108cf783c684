"""`ohlcv health`: pipeline health checks."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

import click
from rich import box
from rich.table import Table

from ohlcv.cli.options import TABLE_OR_JSON
from ohlcv.cli.terminal import print_table, show_progress
from ohlcv.config.settings import load_settings


@click.command()
@TABLE_OR_JSON
def health(output_format: str) -> int:
    """Show the freshness of candles, runs of the last 24 hours, job durations, Spark workers and storage.

    The exit code is 1 if a check is in state `alert`. Candles are `quiet`, not late, if there were no trades.
    """
    from ohlcv.monitoring.health import health as measure_health

    settings = load_settings()
    with show_progress("measuring", quiet=output_format == "json"):
        measures = measure_health(settings, datetime.now(UTC))
    if output_format == "json":
        click.echo(json.dumps([asdict(measure) for measure in measures]))
    else:
        table = Table(title="Health", title_justify="left", box=box.SIMPLE_HEAD)
        for name in ("state", "subject", "aspect", "found", "target"):
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
