"""`ohlcv audit`: held series and rejected runs, and decisions of operators on them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.table import Table

from ohlcv.cli.terminal import echo, print_table
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.intervals import format_duration, iso
from ohlcv.model.timeframes import TIMEFRAMES, get_timeframe

if TYPE_CHECKING:
    from ohlcv.iceberg.audit_state import AuditState

TIMEFRAME_OPTION = click.option("--timeframe", "name", default="all", show_default=True, help="A timeframe, or all.")
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


@click.group()
def audit() -> None:
    """Show held series and rejected runs; retry or waive held series.

    A series is held if its new candles of an hour (of daily candles: of a day) fail the audit: the table keeps the
    candles that it had. A rejected run has published nothing.
    """


@audit.command()
@TIMEFRAME_OPTION
@JSON_OPTION
def status(name: str, as_json: bool) -> None:
    """Show the held series, the newest rejected run of each table, and the waivers."""
    states = list(read_states(load_settings(), name))
    now = datetime.now(UTC)
    if as_json:
        click.echo(json.dumps(_status_json(states, now)))
    else:
        _print_status(states, now)


def read_states(settings: Settings, name: str) -> Iterator[AuditState]:
    """Yield the records of the audit of one timeframe or of all."""
    from ohlcv.iceberg.audit_state import read_audit_state
    from ohlcv.iceberg.tables import load_table, open_catalog

    names = list(TIMEFRAMES) if name == "all" else [get_timeframe(name).name]
    catalog = open_catalog(settings)
    for each in names:
        timeframe = settings.timeframe(each)
        yield read_audit_state(load_table(catalog, settings.candles_contract(timeframe)), timeframe)


def _status_json(states: Iterable[AuditState], now: datetime) -> dict[str, Any]:
    from ohlcv.iceberg.audit_state import age_of

    held, rejected, waivers = [], [], []
    for state in states:
        timeframe = state.timeframe
        for each in state.held:
            held.append(
                {
                    "timeframe": timeframe.name,
                    "key": each.name(timeframe),
                    "values": each.values,
                    "rule": each.rule,
                    "findings": each.findings,
                    "since": each.since,
                    "tried": each.tried,
                    "age_seconds": age_of(each.since, now).total_seconds(),
                    "retry_requested": state.decisions.wants_retry(each),
                }
            )
        if run := state.rejection:
            rejected.append(
                {
                    "timeframe": timeframe.name,
                    "dag_id": run.dag_id,
                    "run_id": run.run_id,
                    "start": run.start,
                    "end": run.end,
                    "rule": run.rule,
                    "findings": run.findings,
                    "failing": run.failing,
                    "series": run.series,
                    "at": run.at,
                    "age_seconds": age_of(run.at, now).total_seconds(),
                    "resolved": state.is_resolved,
                    "first": list(run.first),
                }
            )
        for waiver in state.decisions.waivers:
            waivers.append(
                {
                    "timeframe": timeframe.name,
                    "key": waiver.name(timeframe),
                    "values": waiver.values,
                    "findings": len(waiver.findings),
                    "author": waiver.author,
                    "reason": waiver.reason,
                    "at": waiver.at,
                }
            )
    return {"held": held, "rejected": rejected, "waivers": waivers, "at": iso(now)}


def _print_status(states: list[AuditState], now: datetime) -> None:
    from ohlcv.iceberg.audit_state import age_of

    held = _table("Held series", "key", "rule", ("findings",), "since", "last try", ("age",), "next try")
    rejected = _table("Rejected runs", "run", "range", "rule", ("findings",), ("failing series",), ("age",), "state")
    waivers = _table("Waivers", "key", "author", "reason", "at")
    for state in states:
        timeframe = state.timeframe
        for each in state.held:
            age = format_duration(age_of(each.since, now))
            due = "next run" if state.decisions.wants_retry(each) else "hourly"
            key = f"{each.name(timeframe)}@{each.values}"
            held.add_row(key, each.rule, f"{each.findings:,}", each.since, each.tried, age, due)
        if run := state.rejection:
            rejected.add_row(
                f"{run.dag_id} {run.run_id}",
                f"{timeframe} {run.start} .. {run.end}",
                run.rule,
                f"{run.findings:,}",
                f"{run.failing:,} of {run.series:,}",
                format_duration(age_of(run.at, now)),
                "resolved" if state.is_resolved else "open",
            )
        for waiver in state.decisions.waivers:
            waivers.add_row(f"{waiver.name(timeframe)}@{waiver.values}", waiver.author, waiver.reason, waiver.at)
    for table, nothing in ((held, "no series is held"), (rejected, "no run was rejected"), (waivers, "")):
        if table.row_count:
            print_table(table)
        elif nothing:
            echo(nothing)


def _table(title: str, *columns: str | tuple[str]) -> Table:
    """Return a table; columns in tuples are numbers."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        if isinstance(column, str):
            table.add_column(column)
        else:
            table.add_column(*column, justify="right")
    return table
