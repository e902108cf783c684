"""`ohlcv ledger`: record the publications of the candle tables, and show the state of the ledger."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ohlcv.cli.options import TABLE_OR_JSON, TIMEFRAME_OR_ALL, chosen_timeframes
from ohlcv.cli.terminal import new_table, note, print_table, report_of, show_progress
from ohlcv.config.settings import load_settings
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import iso

if TYPE_CHECKING:
    from ohlcv.ledger.reports import LedgerReport, LedgerStatus


@click.group()
def ledger() -> None:
    """Record every publication of the candle tables with the values that it replaced; show what is recorded.

    A publication is a move of a table's current state: by a run, a rollback, maintenance or another writer.
    """


@ledger.command("record")
@TIMEFRAME_OR_ALL
@TABLE_OR_JSON
def record_publications(name: str, output_format: str) -> None:
    """Record the publications since the last recording.

    The first recording of a table begins its ledger at the present state. An hourly task does the same. JSON is one
    object per line and timeframe.
    """
    from ohlcv.iceberg.tables import open_catalog
    from ohlcv.ledger.recording import record

    settings = load_settings()
    names = chosen_timeframes(settings, name)
    catalog = open_catalog(settings)
    reports: list[LedgerReport] = []
    errors: list[str] = []
    for each in names:
        try:
            with show_progress(f"recording {each}", quiet=output_format == "json") as progress:
                reports.append(record(settings, settings.timeframe(each), catalog, progress))
        except OhlcvError as error:
            errors.append(f"{each}: {error}")
    with report_of("the publications are recorded"):
        if output_format == "json":
            for report in reports:
                click.echo(json.dumps(report.to_json()))
        elif reports:
            _print_reports(reports)
    if errors:
        raise OhlcvError("; ".join(errors))


@ledger.command()
@TIMEFRAME_OR_ALL
@TABLE_OR_JSON
def status(name: str, output_format: str) -> None:
    """Show from when the states of each table are known, what is not recorded yet, gaps, and the size.

    JSON is one object per line and timeframe.
    """
    from ohlcv.iceberg.tables import open_catalog
    from ohlcv.ledger.status import ledger_status

    settings = load_settings()
    names = chosen_timeframes(settings, name)
    catalog = open_catalog(settings)
    states = [ledger_status(settings, settings.timeframe(each), catalog) for each in names]
    if output_format == "json":
        for state in states:
            click.echo(json.dumps(state.to_json()))
    else:
        _print_states(states)


def _print_reports(reports: list[LedgerReport]) -> None:
    table = new_table(
        "Recorded",
        "timeframe",
        ("publications",),
        ("inserted",),
        ("updated",),
        ("deleted",),
        "causes",
        "newest",
        ("seconds",),
    )
    for report in reports:
        newest = report.checkpoint
        changes = [f"{report.revisions.get(change, 0):,}" for change in ("inserted", "updated", "deleted")]
        causes = ", ".join(f"{cause} {count:,}" for cause, count in report.causes.items())
        table.add_row(
            report.timeframe,
            f"{report.publications:,}",
            *changes,
            causes or "-",
            f"{newest.number} at {iso(newest.visible_at)}" if newest else "-",
            f"{report.seconds:.1f}",
        )
    print_table(table)
    for report in reports:
        if report.unavailable:
            note(f"{report.timeframe}: {report.unavailable}")
        if report.gap:
            note(f"{report.timeframe}: publications before {iso(report.gap)} were lost: see 'ohlcv ledger status'")


def _print_states(states: list[LedgerStatus]) -> None:
    table = new_table(
        "Ledger", "timeframe", "known from", "newest", ("not recorded",), "gaps before", ("revisions",), ("MiB",)
    )
    for state in states:
        newest = state.checkpoint
        table.add_row(
            state.timeframe,
            iso(state.begins_at) if state.begins_at else "-",
            f"{newest.number} at {iso(newest.visible_at)}" if newest else "-",
            f"{state.unrecorded:,}",
            ", ".join(map(iso, state.gaps)) or "-",
            f"{state.rows:,}",
            f"{state.size / 2**20:,.1f}",
        )
    print_table(table)
    for state in states:
        if state.unavailable:
            note(f"{state.timeframe}: {state.unavailable}")
