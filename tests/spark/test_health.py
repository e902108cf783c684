"""Pipeline health checks on real tables: late and quiet candles, and the limits of all other checks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, TIMEFRAMES
from ohlcv.monitoring.health import (
    RunCounts,
    duration,
    freshness,
    health,
    runs,
    storage,
    success_rate,
    workers,
)
from ohlcv.monitoring.measurements import Measurement
from support.harness import Harness, at, trade

NOON = at("2026-03-01 12:00")


def fresh(harness: Harness, name: str, now: datetime) -> Measurement:
    return freshness(harness.settings, harness.settings.timeframe(name), now)


def test_candles_are_late_only_if_there_are_later_trades(harness: Harness) -> None:
    minutes = timedelta(minutes=1)
    harness.load([trade(NOON + n * minutes) for n in range(5)])
    harness.build("1m", NOON, NOON + 5 * minutes)
    # Windows that ended by 12:10 are due then; a run has five minutes to build them.
    assert fresh(harness, "1m", NOON + 9 * minutes).state == "ok"
    assert fresh(harness, "1m", NOON + 14 * minutes + timedelta(seconds=59)).state == "ok"
    quiet = fresh(harness, "1m", NOON + 15 * minutes)
    assert (quiet.state, quiet.found) == (
        "quiet",
        "newest ends 2026-03-01T12:05:00Z, 10 min ago; no trades since 2026-03-01T12:04:00Z",
    )
    assert quiet.target == "ends up to 5 min ago, 10 min at most"
    # Neither a trade of a window that is not due nor a rejected trade changes the state.
    harness.load([trade(NOON + 10 * minutes), trade(NOON + 7 * minutes, "0")])
    assert fresh(harness, "1m", NOON + 15 * minutes).state == "quiet"
    harness.load([trade(NOON + 6 * minutes)])
    late = fresh(harness, "1m", NOON + 15 * minutes)
    assert (late.state, late.found) == ("alert", "newest ends 2026-03-01T12:05:00Z, 10 min ago; there are later trades")
    harness.build("1m", NOON + 5 * minutes, NOON + 10 * minutes)
    # The newest candle ends before the due window, but there are no trades between.
    assert fresh(harness, "1m", NOON + 15 * minutes).state == "quiet"


@pytest.mark.parametrize(
    ("name", "on_time", "late"),
    [
        ("5m", "2026-03-01 12:39:59", "2026-03-01 12:40"),
        ("30m", "2026-03-01 13:14:59", "2026-03-01 13:15"),
        ("1h", "2026-03-01 14:19:59", "2026-03-01 14:20"),
        ("1d", "2026-03-03 00:09:59", "2026-03-03 00:10"),
    ],
)
def test_lateness_follows_the_schedule_of_each_timeframe(harness: Harness, name: str, on_time: str, late: str) -> None:
    harness.load([trade(at("2026-03-01 12:10")), trade(at("2026-03-02 12:10")), trade(at("2026-03-01 12:31"))])
    harness.load([trade(at("2026-03-01 13:10"))])
    ends = {"5m": "12:20", "30m": "12:30", "1h": "13:00"}
    end = at(f"2026-03-01 {ends[name]}") if name in ends else at("2026-03-02 00:00")
    harness.build(name, at("2026-03-01 00:00"), end)
    if name == "5m":
        harness.load([trade(at("2026-03-01 12:16")), trade(at("2026-03-01 12:21"))])
        harness.build(name, at("2026-03-01 00:00"), end)
    assert fresh(harness, name, at(on_time)).state == "ok"
    assert fresh(harness, name, at(late)).state == "alert"


def test_empty_tables_are_quiet_until_there_are_trades(harness: Harness) -> None:
    nothing = fresh(harness, "1h", NOON)
    assert (nothing.state, nothing.found) == ("quiet", "no candle yet; there are no trades")
    harness.load([trade(NOON - timedelta(hours=1, minutes=30))])
    assert fresh(harness, "1h", NOON).state == "alert"


@pytest.mark.parametrize(
    ("good", "failed", "state"), [(0, 0, "unknown"), (19, 1, "ok"), (95, 5, "ok"), (94, 6, "alert"), (0, 1, "alert")]
)
def test_a_low_success_rate_is_an_alert(good: int, failed: int, state: str) -> None:
    assert success_rate("1m", RunCounts(good + failed, good)).state == state


@pytest.mark.parametrize(("seconds", "state"), [(None, "unknown"), (30.0, "ok"), (30.1, "alert")])
def test_a_job_that_takes_50_percent_longer_than_its_target_is_an_alert(seconds: float | None, state: str) -> None:
    assert duration(TIMEFRAMES["1m"], seconds).state == state


@pytest.fixture
def master() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve the status page of a fake Spark master, with workers that the test chooses."""
    found: list[dict[str, Any]] = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"workers": found}).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", found
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_missing_worker_is_an_alert(master: tuple[str, list[dict[str, Any]]]) -> None:
    address, found = master
    settings = load_settings({"OHLCV_SPARK_WEB": address, "OHLCV_SPARK_WORKERS": "2"})
    found += [{"state": "ALIVE", "cores": 2, "memory": 1024}, {"state": "DEAD", "cores": 8, "memory": 9000}]
    assert workers(settings) == Measurement(
        "Spark", "workers", "1 alive, 2 cores, 1,024 MiB", "2 alive", "alert", value=1
    )
    found.append({"state": "ALIVE", "cores": 1, "memory": 512})
    assert workers(settings).state == "ok"


def test_unreachable_services_are_reported(harness: Harness) -> None:
    measures = health(harness.settings, NOON)
    assert {(each.subject, each.state) for each in measures if each.state == "unknown"} == {
        ("runs", "unknown"),
        ("Spark", "unknown"),
        # No ledger has begun, and no coverage.
        *((name, "unknown") for name in DEFAULT_TIMEFRAMES),
        ("trades", "unknown"),
    }
    down = load_settings(
        {
            "OHLCV_HOME": str(harness.settings.home),
            "OHLCV_SPARK_WEB": "http://127.0.0.1:1",
            "OHLCV_AIRFLOW_URL": "http://127.0.0.1:1",
            "OHLCV_AIRFLOW_USER": "somebody",
            "OHLCV_AIRFLOW_PASSWORD": "hunter2",
        }
    )
    assert workers(down).state == "alert"
    (run,) = runs(down, NOON)
    assert run.state == "alert"
    assert run.found.startswith("Airflow at http://127.0.0.1:1 does not answer (")
    assert "hunter2" not in run.found


def test_storage_is_reported_per_table(harness: Harness) -> None:
    harness.load([trade(NOON)], [trade(NOON + timedelta(hours=1))])
    by_table = {each.subject: each.found for each in storage(harness.settings)}
    names = (*DEFAULT_TIMEFRAMES, "publications", "revisions", "coverage", "coverage_notes", "reconciliation")
    assert list(by_table) == ["gold_crypto_trades", *(f"gold_ohlcv_{name}" for name in names)]
    assert by_table["gold_crypto_trades"].startswith("2 rows in 2 files, ")
    assert by_table["gold_ohlcv_1d"] == "0 rows in 0 files, 0.0 MiB; 0 snapshots"
