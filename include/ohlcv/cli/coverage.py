"""`ohlcv coverage`: what is known of the trades of each series in each hour; record it, and notes on it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ohlcv.cli.coverage_notes import note
from ohlcv.cli.options import EXCHANGE, ROWS_FORMAT, SYMBOL, TABLE_OR_JSON
from ohlcv.cli.row_output import rows_of, write_csv, write_json
from ohlcv.cli.terminal import new_table, parse_time_option, print_table, report_of, show_progress
from ohlcv.cli.terminal import note as print_note
from ohlcv.config.settings import load_settings
from ohlcv.model.intervals import iso

if TYPE_CHECKING:
    import pyarrow as pa

    from ohlcv.coverage.report import CoverageReport
    from ohlcv.readers.coverage import Coverage


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

    Hours by state: no gap, sequence gaps, silent, no data, source expired, unknown (docs/coverage.md). csv and json
    contain all facts.
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
    elif len(table):
        _print_hours(table) if by == "hour" else _print_series(table)
    _print_notes(found)


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
    columns = ("hours", "series", "trades", "accepted", "rejected", "duplicates", "superseded", "expired", "left")
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


def _print_series(found: pa.Table) -> None:
    states = ("no gap", "sequence gaps", "silent", "no data", "source expired", "unknown")
    headings = ("no gap", "gaps", "silent", "no data", "expired", "unknown")
    counts = ("missing", "accepted", "rejected", "duplicates")
    table = new_table(
        "Hours by state, and trades",
        "exchange",
        "symbol",
        *((name,) for name in headings),
        ("missing",),
        ("trades",),
        ("rejected",),
        ("duplicates",),
        ("silence, min",),
        ("delay p95",),
        "notes",
    )
    for row in rows_of(found):
        hours = [row[state.replace(" ", "_")] for state in states]
        table.add_row(
            row["exchange"] or "-",
            row["symbol"] or "-",
            *(f"{count:,}" if count else "" for count in hours),
            *(_cell(row[name]) for name in counts),
            _cell(row["longest_silence"]),
            _cell(row["delay_p95"]),
            " ".join(row["notes"]),
        )
    print_table(table)


def _print_hours(found: pa.Table) -> None:
    counts = ("missing", "accepted", "rejected_total", "duplicates")
    table = new_table(
        "Hours",
        "exchange",
        "symbol",
        "hour",
        "state",
        ("missing",),
        ("trades",),
        ("rejected",),
        ("duplicates",),
        ("silence, min",),
        ("delay p95",),
        "notes",
        "detail",
    )
    for row in rows_of(found):
        rejected = sum(value or 0 for name, value in row.items() if name.startswith("rejected_"))
        values = {**row, "rejected_total": rejected}
        table.add_row(
            row["exchange"] or "-",
            row["symbol"] or "-",
            iso(row["hour"]),
            row["state"],
            *(_cell(values[name]) for name in counts),
            _cell(row["longest_silence"]),
            _cell(row["delay_p95"]),
            " ".join(row["notes"]),
            row["detail"] or "",
        )
    print_table(table)


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _print_notes(found: Coverage) -> None:
    text = f"{iso(found.start)} to {iso(found.end)}"
    if found.counted_until is None:
        print_note(f"{text}: no coverage is recorded yet: run 'ohlcv coverage record'")
        return
    if found.end > found.counted_until:
        print_note(f"{text}: hours from {iso(found.counted_until)} on are not counted yet")
    else:
        print_note(text)
    if found.pending:
        print_note(f"{len(found.pending):,} hours are counted again soon")
    for each in found.notes:
        name = each.exchange if each.symbol is None else f"{each.symbol} on {each.exchange}"
        end = "-" if each.end_time is None else iso(each.end_time)
        print_note(
            f"{each.note}: {each.kind} of {name}, {iso(each.start_time)} to {end}: {each.reason} ({each.author})"
        )
