"""`ohlcv audit`: held series and rejected runs, and decisions of operators on them."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ohlcv.cli.options import chosen_timeframes
from ohlcv.cli.terminal import echo, new_table, print_table, show_progress
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import format_duration, iso

if TYPE_CHECKING:
    from ohlcv.iceberg.audit_state import AuditState
    from ohlcv.model.audit_records import HeldSeries, Rejection

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


@audit.command()
@click.argument("run_or_key", metavar="RUN|KEY")
@TIMEFRAME_OPTION
@JSON_OPTION
def show(run_or_key: str, name: str, as_json: bool) -> None:
    """Show why a held series or a rejected run failed: findings, values and trades.

    RUN is the id of a rejected run, or its timeframe if it has none. KEY is that of a held series, as 'ohlcv audit
    status' shows it. For the first failing windows it shows the candles that failed ("held"), those of the table
    ("stored"), the recomputed ones, and the trades with what became of them.
    """
    from ohlcv.cli.audit_details import details_json, print_details
    from ohlcv.iceberg.tables import load_table, open_catalog
    from ohlcv.quality.failed_candles import failed_candles
    from ohlcv.quality.failure_details import failure_details

    settings = load_settings()
    catalog = open_catalog(settings)
    found = []
    for state, record in _find_records(list(read_states(settings, name)), run_or_key):
        timeframe = state.timeframe
        candles = load_table(catalog, settings.candles_contract(timeframe))
        with show_progress(f"recomputing {timeframe}", quiet=as_json):
            failed = failed_candles(settings, catalog, timeframe, candles, record)
            found.append((timeframe, record, failure_details(settings, failed)))
    if as_json:
        click.echo(json.dumps({"shown": [details_json(*each) for each in found]}))
        return
    for each in found:
        print_details(*each)


def _find_records(states: list[AuditState], text: str) -> list[tuple[AuditState, HeldSeries | Rejection]]:
    """Return the held series with a key, or the rejected runs with an id; one without an id by its timeframe."""
    for state in states:
        if held := state.find_held(text):
            return [(state, held)]
    runs = [
        (state, state.rejection)
        for state in states
        if state.rejection and text == (state.rejection.run_id or state.timeframe.name)
    ]
    if not runs:
        raise InputError(
            f"'{text}' is neither a held series nor the newest rejected run of a table: see 'ohlcv audit status'"
        )
    return [*runs]


@audit.command()
@click.argument("key")
def retry(key: str) -> None:
    """Let the next scheduled run try a held series again."""
    from ohlcv.quality.operator_decisions import request_retry

    settings = load_settings()
    with show_progress("waiting for the write lock"):
        held = request_retry(settings, key, datetime.now(UTC))
    echo(f"{key}: the next scheduled run tries it again; {held.findings:,} findings since {held.since}")


@audit.command()
@click.argument("key", metavar="KEY@VALUES")
@click.option("--reason", required=True, help="Why the candles are correct although they differ.")
@click.option("--author", help="Who decides.  [default: the login user]")
def waive(key: str, reason: str, author: str | None) -> None:
    """Publish the candles of a held series although they differ from the recomputation.

    The waiver holds only for exactly the values that KEY@VALUES names, as 'ohlcv audit status' shows them. The next
    scheduled run publishes the candles; validations report the findings as waived.
    """
    from ohlcv.quality.operator_decisions import waive as store_waiver

    settings = load_settings()
    author = author or _login_user()
    with show_progress("recomputing, then waiting for the write lock"):
        waiver = store_waiver(settings, key, reason=reason, author=author, now=datetime.now(UTC))
    echo(f"{key}: {len(waiver.findings):,} findings waived by {author}; the next scheduled run publishes its candles")


def _login_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in a container
        raise InputError("the login user has no name: give --author") from None


def read_states(settings: Settings, name: str) -> Iterator[AuditState]:
    """Yield the records of the audit of one timeframe or of all."""
    from ohlcv.iceberg.audit_state import read_audit_state
    from ohlcv.iceberg.tables import load_table, open_catalog

    names = chosen_timeframes(settings, name)
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

    held = new_table("Held series", "key", "rule", ("findings",), "since", "last try", ("age",), "next try")
    rejected = new_table("Rejected runs", "run", "range", "rule", ("findings",), ("failing series",), ("age",), "state")
    waivers = new_table("Waivers", "key", "author", "reason", "at")
    for state in states:
        timeframe = state.timeframe
        for each in state.held:
            age = format_duration(age_of(each.since, now))
            due = "next run" if state.decisions.wants_retry(each) else "hourly"
            key = each.name_with_values(timeframe)
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
