"""Pipeline health checks: candles, held series, ledger, coverage, data of exchanges, runs, Spark workers, storage.

The names of aspects are persisted as keys of incidents, Prometheus labels and dashboard queries: they must not change.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pyiceberg.table import Table

from ohlcv.config.settings import AirflowAddress, Settings
from ohlcv.iceberg.audit_state import read_audit_state
from ohlcv.iceberg.catalog_errors import described_catalog_errors
from ohlcv.iceberg.ledger_tables import read_recorded_until
from ohlcv.iceberg.snapshot_log import find_unavailable_reason, time_of
from ohlcv.iceberg.tables import existing_tables, load_table, open_catalog
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import MAX_RANGE, Range, format_duration, iso
from ohlcv.model.table_contracts import missing_table_problem
from ohlcv.model.timeframes import Timeframe
from ohlcv.monitoring.airflow_client import AirflowApi
from ohlcv.monitoring.coverage_check import measure_coverage
from ohlcv.monitoring.http_json import UnusableResponseError, fetch_json
from ohlcv.monitoring.ledger_check import LIMIT as LEDGER_LIMIT
from ohlcv.monitoring.ledger_check import REMEDY as LEDGER_REMEDY
from ohlcv.monitoring.measurements import Measurement, State
from ohlcv.readers.freshness import GRACE, measure_freshness
from ohlcv.readers.latest import newest_trade

# Task of a candle DAG whose duration is compared with the time target.
JOB_TASK = "aggregate"
SUCCESS_WINDOW = timedelta(hours=24)
SUCCESS_TARGET, SUCCESS_LIMIT = 0.99, 0.95
DURATION_LIMIT = 1.5
# Time limit for the Spark master's page.
SPARK_SECONDS = 10


@dataclass(frozen=True)
class RunCounts:
    """Scheduled runs of a DAG that ended in the last day."""

    ended: int
    successful: int
    # Id of the run that was due last.
    newest: str | None = None


def health(settings: Settings, now: datetime) -> list[Measurement]:
    """Run all health checks."""
    with described_catalog_errors(settings):
        measurements = [freshness(settings, timeframe, now) for timeframe in settings.timeframes.values()]
        measurements += held_series(settings, now)
        measurements += ledger(settings, now)
        measurements += measure_coverage(settings, now)
        measurements += runs(settings, now)
        measurements += [workers(settings)]
        measurements += storage(settings)
    return measurements


def freshness(settings: Settings, timeframe: Timeframe, now: datetime) -> Measurement:
    """Measure the age of the newest candle. Without later trades an old candle is quiet, not late."""
    state = measure_freshness(settings, timeframe, now)
    target = f"ends up to {format_duration(state.usual)} ago, {format_duration(state.usual + GRACE)} at most"
    end = state.newest
    found = "no candle yet" if end is None else f"newest ends {iso(end)}, {format_duration(now - end)} ago"
    age = None if end is None else (now - end).total_seconds()
    if end is not None and end >= state.due:
        return Measurement(timeframe.name, "candles", found, target, "ok", age)
    if state.traded is None:
        # A trade whose timestamp lies in the future is none yet.
        trade = newest_trade(settings, Range(now - MAX_RANGE, now))
        trades = "there are no trades" if trade is None else f"no trades since {iso(trade)}"
        return Measurement(timeframe.name, "candles", f"{found}; {trades}", target, "quiet", age)
    return Measurement(timeframe.name, "candles", f"{found}; there are later trades", target, "alert", age)


def held_series(settings: Settings, now: datetime) -> list[Measurement]:
    """Count the held series of each timeframe. Any held series needs attention: its candles are not published."""
    catalog = open_catalog(settings)
    measurements = []
    for timeframe in settings.timeframes.values():
        state = read_audit_state(load_table(catalog, settings.candles_contract(timeframe)), timeframe)
        age = state.oldest_age(now)
        found = "none"
        if age is not None:
            oldest = state.held[0].name(timeframe)
            found = f"{len(state.held):,}, the oldest is {oldest}, held for {format_duration(age)}"
        alert: State = "ok" if age is None else "alert"
        seconds = 0.0 if age is None else age.total_seconds()
        measurements.append(Measurement(timeframe.name, "held series", found, "none", alert, len(state.held), seconds))
    return measurements


def ledger(settings: Settings, now: datetime) -> list[Measurement]:
    """Count the publications of each timeframe that the ledger has not recorded. Their snapshots expire."""
    catalog = open_catalog(settings)
    contract = settings.publications_contract
    if contract.identifier not in existing_tables(catalog, settings.names):
        problem = missing_table_problem(contract)
        return [Measurement(name, "ledger", problem, "", "unknown") for name in settings.timeframes]
    recorded = read_recorded_until(settings, catalog, now)
    return [
        _ledger_delay(settings, load_table(catalog, settings.candles_contract(timeframe)), timeframe, recorded, now)
        for timeframe in settings.timeframes.values()
    ]


def _ledger_delay(
    settings: Settings, table: Table, timeframe: Timeframe, recorded: Mapping[str, datetime], now: datetime
) -> Measurement:
    target = f"recorded within {format_duration(LEDGER_LIMIT)}"
    unknown = find_unavailable_reason(settings, table)
    if unknown is None and timeframe.name not in recorded:
        unknown = f"no publication is recorded yet: {LEDGER_REMEDY}"
    if unknown is not None:
        return Measurement(timeframe.name, "ledger", unknown, target, "unknown")
    times = (time_of(entry.timestamp_ms) for entry in table.metadata.snapshot_log)
    waiting = [time for time in times if time > recorded[timeframe.name]]
    if not waiting:
        return Measurement(timeframe.name, "ledger", "every publication is recorded", target, "ok", 0, 0.0)
    age = now - waiting[0]
    state: State = "alert" if age > LEDGER_LIMIT else "ok"
    found = f"{len(waiting):,} publications not recorded, the oldest since {format_duration(age)}"
    return Measurement(timeframe.name, "ledger", found, target, state, len(waiting), age.total_seconds())


def runs(settings: Settings, now: datetime) -> list[Measurement]:
    """Measure the success rate of the last day's scheduled runs and the duration of the last jobs."""
    if settings.airflow is None:
        return [Measurement("runs", "last 24 h", "not measured: OHLCV_AIRFLOW_URL is not set", "", "unknown")]
    try:
        return _runs_of_timeframes(settings, settings.airflow, now)
    except OhlcvError as error:
        return [Measurement("runs", "last 24 h", str(error), "", "alert")]


def _runs_of_timeframes(settings: Settings, address: AirflowAddress, now: datetime) -> list[Measurement]:
    api = AirflowApi(address.url, address.user, address.password)
    known = api.dags()
    measurements = []
    for name, timeframe in settings.timeframes.items():
        if timeframe.dag_id not in known:
            measurements.append(Measurement(name, "runs", "Airflow has no such DAG", "", "alert"))
            continue
        counts = count_runs(api, timeframe.dag_id, now)
        measurements.append(success_rate(name, counts))
        if counts.newest is not None:
            task = api.tasks(timeframe.dag_id, counts.newest).get(JOB_TASK, {})
            measurements.append(duration(timeframe, task.get("duration")))
    return measurements


def count_runs(api: AirflowApi, dag_id: str, now: datetime) -> RunCounts:
    """Count the scheduled runs of a DAG that ended in the last day."""
    query = {"run_type": "scheduled", "end_date_gte": iso(now - SUCCESS_WINDOW)}
    runs, ended = api.newest_runs(dag_id, 1, state=("success", "failed"), **query)
    _, successful = api.newest_runs(dag_id, 1, state="success", **query)
    return RunCounts(ended, min(successful, ended), runs[0]["dag_run_id"] if runs else None)


def success_rate(name: str, counts: RunCounts) -> Measurement:
    """Compare the share of successful runs with its limit."""
    target = f"above {SUCCESS_TARGET:.0%}, {SUCCESS_LIMIT:.0%} at least"
    if not counts.ended:
        return Measurement(name, "runs in 24 h", "no run has ended", target, "unknown")
    share = counts.successful / counts.ended
    state: State = "alert" if counts.successful < SUCCESS_LIMIT * counts.ended else "ok"
    found = f"{counts.successful} of {counts.ended} successful ({share:.1%})"
    return Measurement(name, "runs in 24 h", found, target, state, share)


def duration(timeframe: Timeframe, seconds: Any) -> Measurement:
    """Compare the duration of the last job with its target."""
    limit = timeframe.time_target.total_seconds() * DURATION_LIMIT
    target = f"{timeframe.time_target.total_seconds():.0f} s, {limit:.0f} s at most"
    if not isinstance(seconds, int | float):
        return Measurement(timeframe.name, "last job", "has not ended", target, "unknown")
    state: State = "alert" if seconds > limit else "ok"
    return Measurement(timeframe.name, "last job", f"{seconds:.1f} s", target, state, seconds)


def workers(settings: Settings) -> Measurement:
    """Count the live workers on the Spark master's web page."""
    target = f"{settings.spark_workers} alive"
    if settings.spark_web is None:
        return Measurement("Spark", "workers", "not measured: OHLCV_SPARK_WEB is not set", target, "unknown")
    try:
        found = fetch_json(urllib.request.Request(f"{settings.spark_web}/json/"), SPARK_SECONDS)
        alive = [worker for worker in found["workers"] if worker["state"] == "ALIVE"]
        cores, memory = (sum(int(worker[key]) for worker in alive) for key in ("cores", "memory"))
    except (urllib.request.HTTPError, UnusableResponseError) as error:
        return Measurement("Spark", "workers", f"the master's page does not answer ({error})", target, "alert")
    except (LookupError, TypeError, ValueError, OverflowError):
        return Measurement("Spark", "workers", f"{settings.spark_web} is not the master's page", target, "alert")
    state: State = "ok" if len(alive) >= settings.spark_workers else "alert"
    summary = f"{len(alive)} alive, {cores} cores, {memory:,} MiB"
    return Measurement("Spark", "workers", summary, target, state, len(alive))


def storage(settings: Settings) -> list[Measurement]:
    """Measure the size of the tables from the summary of their current snapshot."""
    catalog = open_catalog(settings)
    known = existing_tables(catalog, settings.names)
    return [
        _table_size(load_table(catalog, contract))
        if contract.identifier in known
        else Measurement(contract.name, "storage", missing_table_problem(contract), "", "unknown")
        for contract in settings.contracts()
    ]


def _table_size(table: Table) -> Measurement:
    snapshot = table.current_snapshot()
    summary: dict[str, Any] = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
    rows, files, size = (int(summary.get(f"total-{key}", 0)) for key in ("records", "data-files", "files-size"))
    found = f"{rows:,} rows in {files:,} files, {size / 2**20:,.1f} MiB; {len(table.snapshots()):,} snapshots"
    return Measurement(table.name()[-1], "storage", found, "", "ok", size)
