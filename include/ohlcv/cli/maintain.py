"""`ohlcv maintain`: compaction and snapshot expiry of the candle tables, and of what is recorded of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click
from rich import box
from rich.table import Table

from ohlcv.cli.options import TABLE_OR_JSON, TIMEFRAME_OR_ALL, chosen_timeframes
from ohlcv.cli.terminal import note, print_table, report_of, show_progress
from ohlcv.config.maintained_tables import PUBLICATIONS, REVISIONS, maintained_table
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import iso, parse_day
from ohlcv.model.timeframes import DEFAULT_MAX_SHARE
from ohlcv.spark.spark_submit import LOCAL_MASTER, maintenance_job, run


@click.command()
@TIMEFRAME_OR_ALL
@click.option("--as-of", help="UTC date from which ages are computed, such as 2026-01-31.  [default: today]")
@click.option(
    "--max-share",
    type=click.FloatRange(0, 1),
    default=DEFAULT_MAX_SHARE,
    show_default=True,
    help="Largest share of the files in a table's folder that may be deleted as orphan files.",
)
@TABLE_OR_JSON
def maintain(name: str, as_of: str | None, max_share: float, output_format: str) -> None:
    """Compact the small files of closed partitions, expire snapshots older than seven days, and remove orphan files.

    The last hundred snapshots are never expired, and for 14 days none that the ledger has not recorded: it is recorded
    first. All timeframes include the tables of ledger, coverage and reconciliation. No row is changed.
    """
    from ohlcv.iceberg.retention_plan import RecordTables, check_as_of, measure_table
    from ohlcv.iceberg.tables import check_locations

    settings = load_settings()
    names = chosen_timeframes(settings, name)
    today = datetime.now(UTC).date()
    day = today if as_of is None else parse_day(as_of)
    check_as_of(day, today)
    check_locations(settings)
    reports: list[dict[str, Any]] = []
    records = RecordTables.find(settings)
    if records.missing:
        note(f"nothing is recorded or maintained of {records.missing}")
    has_ledger = {PUBLICATIONS, REVISIONS} <= set(records.names)
    for each in [*names, *(records.names if name == "all" else ())]:
        table = maintained_table(settings, each)
        recorded = _record(settings, each) if has_ledger and not table.is_record else None
        before = measure_table(settings, table.contract)
        job = maintenance_job(
            settings,
            each,
            steps="compact,expire",
            as_of=day.isoformat(),
            keep_since=recorded,
            max_orphan_share=max_share,
        )
        with show_progress(f"{each}: compacting and expiring", quiet=output_format == "json"):
            result = run(job, settings.spark_master or LOCAL_MASTER)
        if result.exit_code:
            raise OhlcvError(f"{each}: {result.error}")
        report = json.loads(result.last_line)
        after = measure_table(settings, table.contract)
        reports.append({**report, "before": before.to_json(), "after": after.to_json()})
        if output_format == "json":
            with report_of(f"the maintenance of {each} is done"):
                click.echo(json.dumps(reports[-1]))
    if output_format == "table":
        with report_of("the maintenance is done"):
            _print_reports(reports)


def _record(settings: Settings, name: str) -> str | None:
    """Record the ledger of a timeframe, and return the time from which expiry must keep snapshots, if there is one.

    A failure is reported and does not stop the maintenance.
    """
    from ohlcv.ledger.expiry import keep_since, try_record

    timeframe = settings.timeframe(name)
    attempt = try_record(settings, timeframe)
    if attempt.error:
        note(f"{name}: the ledger was not recorded: {attempt.error}")
    elif attempt.report and attempt.report.gap:
        note(f"{name}: publications before {iso(attempt.report.gap)} are lost: their snapshots had expired")
    found = keep_since(settings, timeframe)
    return None if found is None else iso(found)


def _print_reports(reports: list[dict[str, Any]]) -> None:
    table = Table(title="Table maintenance", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("table")
    names = ("rows", "files", "bytes", "snapshots", "manifests", "metadata_bytes")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for report in reports:
        table.add_row(_name(report), *(_change(report, name) for name in names))
    print_table(table)
    for report in reports:
        if text := report["expire"].get("note"):
            note(f"{_name(report)}: {text}")


def _name(report: dict[str, Any]) -> str:
    """Return the timeframe of a candle table, or the name of a record table."""
    return str(report.get("timeframe") or report["table"])


def _change(report: dict[str, Any], name: str) -> str:
    before, after = report["before"][name], report["after"][name]
    return f"{before:,} -> {after:,}" if before != after else f"{after:,}"
