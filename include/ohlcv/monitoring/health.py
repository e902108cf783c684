"""Is the house in order: age of candles, runs and their times, workers, storage. Each a small function with a limit."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pyiceberg.table import Table

from ohlcv.config.settings import AirflowAddress, Settings
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import iso
from ohlcv.model.table_contracts import TRADES, candles_contract
from ohlcv.model.timeframes import TIMEFRAMES, Timeframe
from ohlcv.monitoring.airflow_client import AirflowApi
from ohlcv.readers.freshness import GRACE, look
from ohlcv.readers.latest import newest_trade

SUCCESS_WINDOW = timedelta(hours=24)
SUCCESS_TARGET, SUCCESS_LIMIT = 0.99, 0.95
DURATION_LIMIT = 1.5

State = Literal["ok", "alert", "quiet", "unknown"]


@dataclass(frozen=True)
class Measure:
    """One thing that was looked at: what it is, what was found, what it should be, and whether that is too bad."""

    subject: str
    aspect: str
    found: str
    target: str
    state: State
    # What was found as a number, for whoever draws it: seconds, a share, workers or bytes.
    value: float | None = None


def health(settings: Settings, now: datetime) -> list[Measure]:
    """Look at everything."""
    measures = [freshness(settings, settings.timeframe(name), now) for name in TIMEFRAMES]
    measures += runs(settings, now)
    measures += [workers(settings)]
    measures += storage(settings)
    return measures


def freshness(settings: Settings, timeframe: Timeframe, now: datetime) -> Measure:
    """Tell how old the newest candle is; late are candles behind trades, not markets in which nobody trades."""
    state = look(settings, timeframe, now)
    target = f"ends up to {_span(state.usual)} ago, {_span(state.usual + GRACE)} at most"
    end = state.newest
    found = "no candle yet" if end is None else f"newest ends {iso(end)}, {_span(now - end)} ago"
    age = None if end is None else (now - end).total_seconds()
    if end is not None and end >= state.due:
        return Measure(timeframe.name, "candles", found, target, "ok", age)
    if state.traded is None:
        trade = newest_trade(settings)
        told = "there are no trades" if trade is None else f"no trades since {iso(trade)}"
        return Measure(timeframe.name, "candles", f"{found}; {told}", target, "quiet", age)
    return Measure(timeframe.name, "candles", f"{found}; there are later trades", target, "alert", age)


def runs(settings: Settings, now: datetime) -> list[Measure]:
    """Ask Airflow how the scheduled runs of a day went, and how long the last jobs took."""
    if settings.airflow is None:
        return [Measure("runs", "last 24 h", "not asked: OHLCV_AIRFLOW_URL is not set", "", "unknown")]
    try:
        return _runs_by(settings, settings.airflow, now)
    except OhlcvError as error:
        return [Measure("runs", "last 24 h", str(error), "", "alert")]


def _runs_by(settings: Settings, address: AirflowAddress, now: datetime) -> list[Measure]:
    api = AirflowApi(address.url, address.user, address.password)
    known = api.dags()
    measures = []
    for name in TIMEFRAMES:
        timeframe = settings.timeframe(name)
        if timeframe.dag_id not in known:
            measures.append(Measure(name, "runs", "Airflow does not know the DAG", "", "alert"))
            continue
        since = iso(now - SUCCESS_WINDOW)
        found = api.runs(timeframe.dag_id, run_type="scheduled", end_date_gte=since, order_by="-run_after")
        measures.append(success_rate(name, [run["state"] for run in found if run["state"] in ("success", "failed")]))
        if found:
            task = api.tasks(timeframe.dag_id, found[0]["dag_run_id"])["aggregate"]
            measures.append(duration(timeframe, task["duration"]))
    return measures


def success_rate(name: str, states: list[str]) -> Measure:
    """Hold the share of good runs against its limit."""
    target = f"above {SUCCESS_TARGET:.0%}, {SUCCESS_LIMIT:.0%} at least"
    if not states:
        return Measure(name, "runs in 24 h", "none has ended", target, "unknown")
    good = states.count("success")
    state: State = "alert" if good < SUCCESS_LIMIT * len(states) else "ok"
    share = good / len(states)
    return Measure(name, "runs in 24 h", f"{good} of {len(states)} good ({share:.1%})", target, state, share)


def duration(timeframe: Timeframe, seconds: float | None) -> Measure:
    """Hold the last job's seconds against its target."""
    limit = timeframe.time_target.total_seconds() * DURATION_LIMIT
    target = f"{timeframe.time_target.total_seconds():.0f} s, {limit:.0f} s at most"
    if seconds is None:
        return Measure(timeframe.name, "last job", "has not ended", target, "unknown")
    state: State = "alert" if seconds > limit else "ok"
    return Measure(timeframe.name, "last job", f"{seconds:.1f} s", target, state, seconds)


def workers(settings: Settings) -> Measure:
    """Ask the master for its workers."""
    target = f"{settings.spark_workers} alive"
    if settings.spark_web is None:
        return Measure("Spark", "workers", "not asked: OHLCV_SPARK_WEB is not set", target, "unknown")
    try:
        with urllib.request.urlopen(f"{settings.spark_web}/json/", timeout=10) as answer:
            found = json.load(answer)["workers"]
    except (OSError, ValueError) as error:
        return Measure("Spark", "workers", f"the master's page does not answer ({error})", target, "alert")
    alive = [worker for worker in found if worker["state"] == "ALIVE"]
    cores, memory = (sum(worker[key] for worker in alive) for key in ("cores", "memory"))
    state: State = "ok" if len(alive) >= settings.spark_workers else "alert"
    return Measure("Spark", "workers", f"{len(alive)} alive, {cores} cores, {memory:,} MiB", target, state, len(alive))


def storage(settings: Settings) -> list[Measure]:
    """Tell how much the tables hold, by their newest snapshot."""
    catalog = open_catalog(settings)
    contracts = [TRADES, *(candles_contract(settings.timeframe(name)) for name in TIMEFRAMES)]
    return [_size(load_table(catalog, contract)) for contract in contracts]


def _size(table: Table) -> Measure:
    snapshot = table.current_snapshot()
    summary: dict[str, Any] = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
    rows, files, size = (int(summary.get(f"total-{key}", 0)) for key in ("records", "data-files", "files-size"))
    found = f"{rows:,} rows in {files:,} files, {size / 2**20:,.1f} MiB; {len(table.snapshots()):,} snapshots"
    return Measure(table.name()[-1], "storage", found, "", "ok", size)


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    days, hours, minutes = seconds // 86_400, seconds // 3_600 % 24, seconds // 60 % 60
    parts = [f"{days} d" if days else "", f"{hours} h" if hours else "", f"{minutes} min" if minutes else ""]
    return " ".join(filter(None, parts)) or f"{seconds} s"
