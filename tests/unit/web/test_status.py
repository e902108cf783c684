"""The document of the pipeline page: facts of the tables, of the runs, and of both when Airflow does not answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model import summary_keys
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import floor_time, iso
from ohlcv.model.source_checkpoint import SourceCheckpoint
from ohlcv.spark.processes import HOST, free_port
from ohlcv.web import airflow_reader, refreshed
from ohlcv.web.data import CandleData
from ohlcv.web.status import read_status
from support.audit_records import held_series, hold
from support.candidates import stage
from support.candle_rows import HOUR, MINUTE, candle, write_candles
from support.default_tables import candles_contract
from support.fake_airflow import FakeAirflow, fake_airflow

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class StaleData(CandleData):
    """Candle data of which the catalog has confirmed only some."""

    def stale_seconds(self, timeframe: str) -> float | None:
        return {"1m": None, "1h": 7.5}[timeframe]


def read(settings: Settings, *names: str, data_class: type[CandleData] = CandleData) -> dict[str, Any]:
    """Return the document of timeframes with the newest snapshots of their tables."""
    data = data_class(settings)
    data.refresh()
    return read_status(settings, data, names)


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAirflow]:
    # Every call reads again.
    monkeypatch.setattr(airflow_reader, "RUNS_SECONDS", 0)
    monkeypatch.setattr(refreshed, "PATIENCE_SECONDS", 3_600)
    with fake_airflow() as running:
        yield running


@pytest.fixture
def connected(settings: Settings, airflow: FakeAirflow) -> Settings:
    return replace(settings, airflow=airflow.address)


def status_of(settings: Settings, name: str = "1m") -> dict[str, Any]:
    (found,) = read(settings, name)["timeframes"]
    return dict(found)


def commit(settings: Settings, **summary: str) -> datetime:
    """Add a snapshot without candles, with entries in its summary, and return its time."""
    table = load_table(open_catalog(settings), candles_contract(MINUTE))
    names = {name: getattr(summary_keys, name) for name in summary}
    table.append(
        table.schema().as_arrow().empty_table(),
        snapshot_properties={names[name]: value for name, value in summary.items()},
    )
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)


def test_an_empty_table_has_no_candles(settings: Settings) -> None:
    found = status_of(settings)
    assert {name: found[name] for name in ("newest_window_end", "lag_seconds", "rejected", "withheld")} == {
        "newest_window_end": None,
        "lag_seconds": None,
        "rejected": {},
        "withheld": None,
    }
    assert (found["rows"], found["files"], found["bytes"], found["last_maintenance"]) == (0, 0, 0, None)


def test_the_size_and_age_of_the_candles_are_measured(settings: Settings) -> None:
    now = datetime.now(UTC)
    newest = floor_time(now, timedelta(minutes=1)) - timedelta(minutes=10)
    write_candles(settings, MINUTE, candle(MINUTE, START), candle(MINUTE, newest))
    found = status_of(settings)
    assert (found["name"], found["dag_id"], found["time_target_seconds"]) == ("1m", "ohlcv_1m", 20)
    assert found["newest_window_end"] == iso(newest + timedelta(minutes=1))
    age = (datetime.now(UTC) - newest).total_seconds() - 60
    assert (now - newest).total_seconds() - 60 <= found["lag_seconds"] <= age
    assert (found["rows"], found["files"]) == (2, 2)
    assert found["bytes"] > 1_000
    cutoffs = {MINUTE.cutoff(now.date()).isoformat(), MINUTE.cutoff(datetime.now(UTC).date()).isoformat()}
    assert found["retention_horizon"] in cutoffs


def test_a_table_that_cannot_be_read_does_not_hide_the_others(settings: Settings) -> None:
    write_candles(settings, MINUTE, candle(MINUTE, START))
    write_candles(settings, HOUR, candle(HOUR, START))
    for file in settings.home.glob("gold_ohlcv_1m*.parquet"):
        file.unlink()
    damaged, whole = read(settings, "1m", "1h")["timeframes"]
    assert "gold_ohlcv_1m" in damaged["problem"]
    assert (damaged["newest_window_end"], damaged["rows"]) == (None, 0)
    assert (whole["problem"], whole["newest_window_end"]) == (None, "2026-03-01T13:00:00Z")


def test_a_catalog_that_does_not_answer_is_waited_for_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ohlcv.web.data._WAIT_SECONDS", 0.01)
    with pytest.raises(OhlcvError, match="does not answer: try again"):
        read_status(settings, CandleData(settings), ["1m", "1h"])


def test_counts_are_those_of_the_newest_job(settings: Settings) -> None:
    """A maintenance commit and one of another writer have no counts."""
    commit(settings, RUN_ID="old", TRADES_REJECTED=json.dumps({"price": 9}), CANDLES_WITHHELD="9")
    commit(settings, RUN_ID="new", TRADES_REJECTED=json.dumps({"quantity": 2, "side": 1}), CANDLES_WITHHELD="3")
    at = commit(settings, MAINTENANCE="compact", RUN_ID="")
    commit(settings)
    found = status_of(settings)
    assert (found["rejected"], found["withheld"]) == ({"quantity": 2, "side": 1}, 3)
    assert found["last_maintenance"] == {"at": iso(at), "run_id": None}


def test_a_staged_snapshot_is_not_counted(settings: Settings) -> None:
    commit(settings, RUN_ID="published", TRADES_REJECTED=json.dumps({"price": 9}), CANDLES_WITHHELD="9")
    table = load_table(open_catalog(settings), candles_contract(MINUTE))
    stage(
        table,
        {summary_keys.TRADES_REJECTED: "{}", summary_keys.CANDLES_WITHHELD: "0", summary_keys.MAINTENANCE: "compact"},
    )
    found = status_of(settings)
    assert (found["rejected"], found["withheld"], found["last_maintenance"]) == ({"price": 9}, 9, None)


def test_held_series_are_counted_with_the_age_of_the_oldest(settings: Settings) -> None:
    names = ("held", "held_since", "held_seconds")
    assert [status_of(settings)[name] for name in names] == [0, None, None]
    since = datetime.now(UTC) - timedelta(hours=3)
    hold(settings, MINUTE, held_series(since=iso(since)), held_series(exchange="a", since=iso(since + HOUR.length)))
    count, first, age = (status_of(settings)[name] for name in names)
    assert (count, first) == (2, iso(since))
    assert 10_800 <= age <= (datetime.now(UTC) - since).total_seconds()


def test_held_series_of_a_run_without_a_commit_are_seen(settings: Settings) -> None:
    """The checkpoint of a run that changed no candle is a table property: the snapshot stays the same."""
    data = CandleData(settings)
    data.refresh()
    assert read_status(settings, data, ["1m"])["timeframes"][0]["held"] == 0
    checkpoint = SourceCheckpoint(held=frozenset({held_series()})).to_text()
    with load_table(open_catalog(settings), candles_contract(MINUTE)).transaction() as transaction:
        transaction.set_properties(
            {summary_keys.CHECKPOINT_PROPERTY: checkpoint, summary_keys.CHECKPOINT_BASE_PROPERTY: "0"}
        )
    data.refresh()
    assert read_status(settings, data, ["1m"])["timeframes"][0]["held"] == 1


def test_runs_are_those_of_airflow(connected: Settings, airflow: FakeAirflow) -> None:
    now = datetime.now(UTC)
    times = {
        "start_date": (now - timedelta(minutes=2)).isoformat(),
        "end_date": (now - timedelta(minutes=1)).isoformat(),
    }
    airflow.paused = {"ohlcv_1m": False, "ohlcv_1h": True}
    airflow.add_run("ohlcv_1m", "scheduled__old", "failed", end_date=(now - timedelta(hours=25)).isoformat())
    airflow.add_run("ohlcv_1m", "scheduled__1", "failed", **times)
    airflow.add_run("ohlcv_1m", "manual__1", "failed", **times)
    airflow.add_run("ohlcv_1m", "scheduled__2", **times)
    airflow.add_run("ohlcv_1m", "scheduled__3", "running", start_date=times["start_date"])
    for run_id, duration, state in (("1", 21.5, "failed"), ("2", 9.5, "success"), ("3", None, "running")):
        airflow.add_job("ohlcv_1m", f"scheduled__{run_id}", duration, state)
    document = read(connected, "1m", "1h", data_class=StaleData)
    assert document["airflow"] == {"reachable": True, "detail": None}
    assert document["stale_seconds"] == 7.5
    found, other = document["timeframes"]
    assert (found["paused"], found["runs_24h"], found["succeeded_24h"]) == (False, 2, 1)
    assert found["last_run"] == {
        "run_id": "scheduled__3",
        "run_type": "scheduled",
        "state": "running",
        "start": times["start_date"].replace("+00:00", "Z"),
        "end": None,
        "duration_seconds": None,
    }
    assert [(each["run_id"], each["duration_seconds"], each["state"]) for each in found["durations"]] == [
        ("scheduled__1", 21.5, "failed"),
        ("scheduled__2", 9.5, "success"),
    ]
    assert found["durations"][0]["start"] == "2026-03-01T12:00:05Z"
    assert (other["paused"], other["last_run"], other["durations"]) == (True, None, [])


def test_unchanged_runs_are_not_read_again(connected: Settings, airflow: FakeAirflow) -> None:
    airflow.paused = {"ohlcv_1m": False}
    airflow.add_run("ohlcv_1m", "scheduled__1", end_date=datetime.now(UTC).isoformat())
    airflow.add_job("ohlcv_1m", "scheduled__1", 9.5)
    status_of(connected)
    jobs = "dags/ohlcv_1m/dagRuns/~/taskInstances"
    assert airflow.requests.count(jobs) == 1
    airflow.requests.clear()
    assert len(status_of(connected)["durations"]) == 1
    assert airflow.requests == ["dags", "dags/ohlcv_1m/dagRuns"]
    airflow.add_run("ohlcv_1m", "scheduled__2", end_date=datetime.now(UTC).isoformat())
    airflow.add_job("ohlcv_1m", "scheduled__2", 8.5)
    found = status_of(connected)
    assert (found["last_run"]["duration_seconds"], found["succeeded_24h"], len(found["durations"])) == (8.5, 2, 2)


@pytest.mark.parametrize(
    ("conf", "maintained"),
    [({}, True), ({"dry_run": True}, False), ({"timeframes": ["1h"]}, False), ({"timeframes": ["1m", "1h"]}, True)],
)
def test_a_retention_run_that_changed_nothing_is_maintenance(
    conf: dict[str, Any], maintained: bool, connected: Settings, airflow: FakeAirflow
) -> None:
    at = commit(connected, MAINTENANCE="delete", RUN_ID="scheduled__1")
    end = at + timedelta(hours=1)
    airflow.paused = {"ohlcv_retention": False}
    airflow.add_run("ohlcv_retention", "scheduled__2", end_date=end.isoformat(), conf=conf)
    airflow.add_run("ohlcv_retention", "scheduled__3", "failed", end_date=(end + timedelta(hours=1)).isoformat())
    expected = (end, "scheduled__2") if maintained else (at, "scheduled__1")
    assert status_of(connected)["last_maintenance"] == {"at": iso(expected[0]), "run_id": expected[1]}


def test_the_newer_one_of_commit_and_retention_run_is_the_last_maintenance(
    connected: Settings, airflow: FakeAirflow
) -> None:
    airflow.paused = {"ohlcv_retention": False}
    airflow.add_run("ohlcv_retention", "scheduled__2", end_date="2026-03-01T12:00:00+00:00", conf=None)
    assert status_of(connected)["last_maintenance"]["run_id"] == "scheduled__2"
    at = commit(connected, MAINTENANCE="compact", RUN_ID="manual__1")
    assert status_of(connected)["last_maintenance"] == {"at": iso(at), "run_id": "manual__1"}


def test_without_airflow_the_facts_of_the_tables_remain(connected: Settings, airflow: FakeAirflow) -> None:
    write_candles(connected, HOUR, candle(HOUR, START))
    unreachable = f"http://{HOST}:{free_port()}"
    for address, detail in (
        (replace(airflow.address, url=unreachable), f"Airflow at {unreachable} does not answer"),
        (None, "OHLCV_AIRFLOW_URL is not set"),
    ):
        settings = replace(connected, airflow=address)
        document = read(settings, "1h")
        assert document["airflow"]["reachable"] is False
        assert document["airflow"]["detail"].startswith(detail)
        (found,) = document["timeframes"]
        assert (found["newest_window_end"], found["rows"]) == ("2026-03-01T13:00:00Z", 1)
        assert (found["paused"], found["last_run"], found["runs_24h"], found["durations"]) == (None, None, 0, [])


def test_runs_of_an_airflow_that_stops_answering_are_not_shown(connected: Settings, airflow: FakeAirflow) -> None:
    airflow.paused = {"ohlcv_1m": False}
    assert status_of(connected)["paused"] is False
    airflow.fails = True
    document = read(connected, "1m")
    assert document["airflow"]["reachable"] is False
    assert document["timeframes"][0]["paused"] is None
