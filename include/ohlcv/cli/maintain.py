"""`ohlcv maintain`: keep the candle tables small."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click
from rich import box
from rich.table import Table

from ohlcv.cli.terminal import note, print_table, working
from ohlcv.config.settings import load_settings
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import parse_day
from ohlcv.model.timeframes import TIMEFRAMES, get_timeframe
from ohlcv.spark.spark_submit import LOCAL_MASTER, maintenance_job, run


@click.command()
@click.option("--timeframe", "name", default="all", show_default=True, help=f"{', '.join(TIMEFRAMES)} or all.")
@click.option("--as-of", help="UTC day from which ages are reckoned, as in 2026-01-31.  [default: today]")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def maintain(name: str, as_of: str | None, form: str) -> None:
    """Join the small files of closed partitions, and let go of snapshots older than seven days and of orphan files.

    The last hundred snapshots are kept however old they are. No candle is changed.
    """
    from ohlcv.iceberg.retention_plan import check_as_of, measure_table

    settings = load_settings()
    names = list(TIMEFRAMES) if name == "all" else [get_timeframe(name).name]
    today = datetime.now(UTC).date()
    day = parse_day(as_of) if as_of else today
    check_as_of(day, today)
    reports: list[dict[str, Any]] = []
    for each in names:
        before = measure_table(settings, settings.timeframe(each))
        job = maintenance_job(settings, each, steps="compact,expire", as_of=day.isoformat())
        with working(f"{each}: compacting and expiring", quiet=form == "json"):
            outcome = run(job, settings.spark_master or LOCAL_MASTER)
        if outcome.exit_code:
            raise OhlcvError(f"{each}: {outcome.error}")
        done = json.loads(outcome.last_line)
        after = measure_table(settings, settings.timeframe(each))
        reports.append({**done, "before": before.to_json(), "after": after.to_json()})
        if form == "json":
            click.echo(json.dumps(reports[-1]))
    if form == "table":
        _show(reports)


def _show(reports: list[dict[str, Any]]) -> None:
    table = Table(title="Maintained", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("timeframe")
    names = ("rows", "files", "bytes", "snapshots", "manifests", "metadata_bytes")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for report in reports:
        table.add_row(report["timeframe"], *(_change(report, name) for name in names))
    print_table(table)
    for report in reports:
        if text := report["expire"].get("note"):
            note(f"{report['timeframe']}: {text}")


def _change(report: dict[str, Any], name: str) -> str:
    before, after = report["before"][name], report["after"][name]
    return f"{before:,} -> {after:,}" if before != after else f"{after:,}"
