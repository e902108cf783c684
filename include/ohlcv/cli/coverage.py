"""`ohlcv coverage`: what is known of the trades of each series in each hour; record it, and notes on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ohlcv.cli.coverage_notes import note
from ohlcv.cli.options import EXCHANGE, ROWS_FORMAT, SYMBOL, TABLE_OR_JSON
from ohlcv.cli.row_output import Row, rows_of, write_csv, write_json
from ohlcv.cli.terminal import new_table, parse_time_option, print_table, report_of, show_progress
from ohlcv.cli.terminal import note as print_note
from ohlcv.config.settings import load_settings
from ohlcv.model.coverage_columns import REJECTED_COLUMNS
from ohlcv.model.intervals import iso

if TYPE_CHECKING:
    import pyarrow as pa

    from ohlcv.coverage.report import CoverageReport
    from ohlcv.readers.coverage import Coverage

# Column -> heading of a table for people.
_STATES = {
    "no_gap": "no gap",
    "sequence_gaps": "gaps",
    "silent": "silent",
    "no_data": "no data",
    "source_expired": "expired",
    "unknown": "unknown",
}
_COUNTS = {"missing": "missing", "accepted": "trades", "rejected": "rejected", "duplicates": "duplicates"}
_TIMES = {"longest_silence": "silence, min", "delay_p95": "delay p95"}
_KEY = {"exchange": "exchange", "symbol": "symbol"}
_SERIES = {**_KEY, **_STATES, **_COUNTS, **_TIMES, "notes": "notes"}
_HOURS = {**_KEY, "hour": "hour", "state": "state", **_COUNTS, **_TIMES, "notes": "notes", "detail": "detail"}
_NUMBERS = {*_STATES, *_COUNTS, *_TIMES}
# The others are left out where no row has a value, so that a table of a healthy day fits a terminal.
_ALWAYS = {*_KEY, "hour", "state", "missing", "accepted", *_TIMES}


@click.group(invoke_without_command=True)
@click.pass_context
@click.option("--start", "start_text", metavar="TIME", help="First hour.  [default: a day before the end]")
@click.option("--end", "end_text", metavar="TIME", help="End of the hours.  [default: that of the counted hours]")
@EXCHANGE
@SYMBOL
@click.option(
    "--by",
    type=click.Choice(["series", "hour"]),
    help="A row per series, with its hours by state, or a row per hour.  [default: series]",
)
@ROWS_FORMAT
def coverage(
    context: click.Context,
    *,
    start_text: str | None,
    end_text: str | None,
    exchange: str | None,
    symbol: str | None,
    by: str | None,
    output_format: str,
) -> None:
    """Show how complete the trades of each series are, for at most 31 days.

    Hours by state: no gap, sequence gaps, silent, no data, source expired, unknown (docs/coverage.md). The table
    leaves out columns without a value; csv and json contain all facts.
    """
    if context.invoked_subcommand is not None:
        if any((start_text, end_text, exchange, symbol, by)) or output_format != "table":
            raise click.UsageError(f"options of 'coverage' cannot precede '{context.invoked_subcommand}': remove them")
        return
    start = None if start_text is None else parse_time_option("--start", start_text)
    end = None if end_text is None else parse_time_option("--end", end_text)
    settings = load_settings()

    from ohlcv.readers.coverage import MAX_RANGE, check_known, read_coverage
    from ohlcv.readers.coverage_tables import coverage_table

    found = read_coverage(settings, start, end, exchange, symbol, max_range=MAX_RANGE)
    table = coverage_table(found, by or "series")
    if not len(table) and found.counted_until is not None:
        check_known(settings, exchange, symbol)
    if output_format == "csv":
        write_csv(table)
    elif output_format == "json":
        write_json(table)
    elif len(table) and by == "hour":
        _print_rows("Hours", table, _HOURS)
    elif len(table):
        _print_rows("Hours by state, and trades", table, _SERIES)
    _print_notes(found, is_empty=not len(table))


@coverage.command("record")
@TABLE_OR_JSON
def record_facts(output_format: str) -> None:
    """Count the trades of the hours that changed since the last recording, until none is left.

    An hourly task does the same. JSON is one object per line and commit.
    """
    from ohlcv.coverage.recording import record_coverage
    from ohlcv.iceberg.tables import open_catalog

    settings = load_settings()
    catalog = open_catalog(settings)
    reports: list[CoverageReport] = []
    with show_progress("counting trades", quiet=output_format == "json") as progress:
        while not reports or reports[-1].pending_hours:
            reports.append(record_coverage(settings, datetime.now(UTC), catalog, progress))
            if not reports[-1].hours:
                break  # nothing that is left can be counted now
    with report_of("the coverage is recorded"):
        if output_format == "json":
            for report in reports:
                click.echo(json.dumps(report.to_json()))
        else:
            _print_reports(reports)


coverage.add_command(note)


def _print_reports(reports: list[CoverageReport]) -> None:
    columns = ("hours", "series", "trades", "accepted", "rejected", "duplicates", "superseded", "expired", "pending")
    table = new_table("Counted", *((name,) for name in columns), "until", ("seconds",))
    for report in reports:
        counts = (
            *(report.hours, report.series, report.deliveries, report.accepted, report.rejected),
            *(report.duplicates, report.superseded, report.expired_hours, report.pending_hours),
        )
        until = "-" if report.until is None else iso(report.until)
        table.add_row(*(f"{count:,}" for count in counts), until, f"{report.seconds:.1f}")
    print_table(table)
    for report in reports:
        if report.full:
            print_note(f"all hours were counted: {report.full}")


def _print_rows(title: str, found: pa.Table, headings: Mapping[str, str]) -> None:
    rows = [_with_total(row) for row in rows_of(found)]
    names = [name for name in headings if name in _ALWAYS or any(row[name] for row in rows)]
    table = new_table(title, *((headings[name],) if name in _NUMBERS else headings[name] for name in names))
    for row in rows:
        table.add_row(*(_cell(name, row[name]) for name in names))
    print_table(table)


def _with_total(row: Row) -> Row:
    """Return a row with the sum of its rejected trades, which a series already has."""
    return {"rejected": sum(row.get(name) or 0 for name in REJECTED_COLUMNS), **row}


def _cell(name: str, value: Any) -> str:
    if name in _STATES:
        return f"{value:,}" if value else ""
    if name == "notes":
        return " ".join(value)
    if name == "hour":
        return iso(value)
    if name == "detail":
        return value or ""
    # Rejected trades may have no exchange or symbol.
    return f"{value:,}" if isinstance(value, int) else value or "-"


def _print_notes(found: Coverage, *, is_empty: bool) -> None:
    text = f"{iso(found.start)} to {iso(found.end)}"
    if found.counted_until is None:
        print_note(f"{text}: no coverage is recorded yet: run 'ohlcv coverage record'")
        return
    if found.end > found.counted_until:
        print_note(f"{text}: hours from {iso(found.counted_until)} on are not counted yet")
    else:
        print_note(text)
    if is_empty:
        print_note("no series has trades in these hours, and none is expected")
    if found.pending:
        print_note(f"{len(found.pending):,} hours are counted again soon")
    for each in found.notes:
        name = each.exchange if each.symbol is None else f"{each.symbol} on {each.exchange}"
        end = "-" if each.end_time is None else iso(each.end_time)
        print_note(
            f"{each.note}: {each.kind} of {name}, {iso(each.start_time)} to {end}: {each.reason} ({each.author})"
        )
