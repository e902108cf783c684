"""The document of the quality page: verdicts of candle runs and reprocessing, read once each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.intervals import Range, iso
from ohlcv.quality.report import Finding, ValidationResult, verdict
from ohlcv.spark.processes import HOST, free_port
from ohlcv.web import airflow_reader, refreshed
from ohlcv.web.quality import read_quality
from support.fake_airflow import FakeAirflow, fake_airflow

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WRONG = Finding("key_is_unique", "FAIL", "BTC-USD", "binance", iso(NOON), "2 rows", "1 row")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"OHLCV_HOME": str(tmp_path)})


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAirflow]:
    # Every call reads again.
    monkeypatch.setattr(airflow_reader, "VERDICTS_SECONDS", 0)
    monkeypatch.setattr(airflow_reader, "UNCHANGED_SECONDS", 0)
    monkeypatch.setattr(airflow_reader, "NEW_VERDICTS_SECONDS", 3_600)
    monkeypatch.setattr(refreshed, "PATIENCE_SECONDS", 3_600)
    with fake_airflow() as running:
        yield running


@pytest.fixture
def connected(settings: Settings, airflow: FakeAirflow) -> Settings:
    return replace(settings, airflow=airflow.address)


def entry(name: str, minutes: int, *findings: Finding) -> dict[str, Any]:
    """Return the entry of a timeframe in a verdict from some minutes after noon."""
    at = NOON + timedelta(minutes=minutes)
    return verdict(ValidationResult(name, [Range(NOON, at)], 80, 9_000, list(findings), ["a note"]), at)


def time(minutes: int) -> str:
    return (NOON + timedelta(minutes=minutes)).isoformat()


def verdicts_of(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    (found,) = [each["verdicts"] for each in document["timeframes"] if each["name"] == name]
    return list(found)


def reads(airflow: FakeAirflow) -> list[str]:
    """Return the runs whose verdict was read, and forget them."""
    found = [path.split("/")[3] for path in airflow.requests if path.endswith("/verdict")]
    airflow.requests.clear()
    return found


def test_a_verdict_is_shown_with_its_run(connected: Settings, airflow: FakeAirflow) -> None:
    airflow.add_verdict("ohlcv_1m", "scheduled__2026-03-01T12:05:00+00:00", [entry("1m", 5, WRONG)], time(5))
    document = read_quality(connected, ["1m", "1h"])
    assert document["airflow"] == {"reachable": True, "detail": None}
    assert [(each["name"], each["dag_id"]) for each in document["timeframes"]] == [
        ("1m", "ohlcv_1m"),
        ("1h", "ohlcv_1h"),
    ]
    (found,) = verdicts_of(document, "1m")
    rules = found.pop("rules")
    assert rules["key_is_unique"] == {
        "severity": "FAIL",
        "findings": 1,
        "description": "symbol, exchange and window_start together are stored once",
    }
    assert found == {
        "dag_id": "ohlcv_1m",
        "run_id": "scheduled__2026-03-01T12:05:00+00:00",
        "map_index": -1,
        "at": "2026-03-01T12:05:00Z",
        "passed": False,
        "ranges": [{"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T12:05:00Z"}],
        "candles": 80,
        "trades": 9_000,
        "failures": 1,
        "warnings": 0,
        "findings": [
            {
                **{"rule": "key_is_unique", "severity": "FAIL", "symbol": "BTC-USD", "exchange": "binance"},
                **{"window_start": "2026-03-01T12:00:00Z", "stored": "2 rows", "expected": "1 row"},
            }
        ],
        "notes": ["a note"],
    }
    assert verdicts_of(document, "1h") == []


def test_verdicts_of_reprocessed_days_are_included(connected: Settings, airflow: FakeAirflow) -> None:
    airflow.add_verdict("ohlcv_1m", "r1", [entry("1m", 1)], time(1))
    for day in (0, 1):
        value = [entry("1m", 2 + day), entry("1h", 2 + day)]
        airflow.add_verdict("ohlcv_reprocess", "r2", value, time(2 + day), map_index=day)
    airflow.add_verdict("ohlcv_1m", "r4", [entry("1m", 4)], time(4))
    document = read_quality(connected, ["1m", "1h"])
    assert [(each["run_id"], each["map_index"]) for each in verdicts_of(document, "1m")] == [
        *(("r4", -1), ("r2", 1), ("r2", 0), ("r1", -1)),
    ]
    assert [each["map_index"] for each in verdicts_of(document, "1h")] == [1, 0]


def test_a_verdict_is_read_once_unless_its_task_is_cleared(connected: Settings, airflow: FakeAirflow) -> None:
    airflow.add_verdict("ohlcv_1m", "r1", [entry("1m", 1, WRONG)], time(1))
    airflow.add_verdict("ohlcv_1m", "r2", [entry("1m", 2)], time(2))
    read_quality(connected, ["1m"])
    assert sorted(reads(airflow)) == ["r1", "r2"]
    airflow.add_verdict("ohlcv_1m", "r3", [entry("1m", 3)], time(3))
    read_quality(connected, ["1m"])
    assert reads(airflow) == ["r3"]
    airflow.xcoms = [each for each in airflow.xcoms if each["run_id"] != "r1"]
    airflow.add_verdict("ohlcv_1m", "r1", [entry("1m", 4)], time(4))
    document = read_quality(connected, ["1m"])
    assert reads(airflow) == ["r1"]
    assert [(each["run_id"], each["passed"]) for each in verdicts_of(document, "1m")] == [
        *(("r1", True), ("r3", True), ("r2", True)),
    ]


def test_verdicts_are_listed_again_when_the_newest_run_has_changed(
    connected: Settings, airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(airflow_reader, "UNCHANGED_SECONDS", 3_600)
    airflow.add_run("ohlcv_1m", "r1", "running")
    airflow.add_verdict("ohlcv_1m", "r1", [entry("1m", 1)], time(1))
    assert len(verdicts_of(read_quality(connected, ["1m"]), "1m")) == 1
    airflow.requests.clear()
    airflow.add_verdict("ohlcv_1m", "r2", [entry("1m", 2)], time(2))
    assert len(verdicts_of(read_quality(connected, ["1m"]), "1m")) == 1
    assert not [path for path in airflow.requests if "xcomEntries" in path]
    airflow.runs[0]["state"] = "success"
    assert len(verdicts_of(read_quality(connected, ["1m"]), "1m")) == 2


def test_a_dag_that_is_not_deployed_has_no_verdicts(connected: Settings, airflow: FakeAirflow) -> None:
    airflow.add_verdict("ohlcv_1m", "r1", [entry("1m", 1)], time(1))
    airflow.missing.add("ohlcv_reprocess")
    document = read_quality(connected, ["1m"])
    assert (document["airflow"]["reachable"], len(verdicts_of(document, "1m"))) == (True, 1)


def test_twenty_verdicts_per_timeframe_are_shown(connected: Settings, airflow: FakeAirflow) -> None:
    for minutes in range(1, 31):
        airflow.add_verdict("ohlcv_1m", f"r{minutes}", [entry("1m", minutes)], time(minutes))
        airflow.add_verdict("ohlcv_reprocess", f"r{minutes}", [entry("1m", minutes)], time(minutes), map_index=0)
    found = verdicts_of(read_quality(connected, ["1m"]), "1m")
    assert [each["run_id"] for each in found] == [f"r{minutes}" for minutes in range(30, 20, -1) for _ in range(2)]


def test_a_verdict_that_is_cleared_while_it_is_read_is_left_out(connected: Settings, airflow: FakeAirflow) -> None:
    airflow.add_verdict("ohlcv_1m", "r1", [entry("1m", 1)], time(1))
    airflow.add_verdict("ohlcv_1m", "r2", [entry("1m", 2)], time(2))
    airflow.cleared.add("r1")
    document = read_quality(connected, ["1m"])
    assert document["airflow"]["reachable"] is True
    assert [each["run_id"] for each in verdicts_of(document, "1m")] == ["r2"]


def test_verdicts_that_take_too_long_follow_with_the_next_call(
    connected: Settings, airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow.add_verdict("ohlcv_1m", "r1", [entry("1m", 1)], time(1))
    monkeypatch.setattr(airflow_reader, "NEW_VERDICTS_SECONDS", -1)
    document = read_quality(connected, ["1m"])
    assert (document["airflow"]["reachable"], verdicts_of(document, "1m")) == (True, [])
    monkeypatch.setattr(airflow_reader, "NEW_VERDICTS_SECONDS", 3_600)
    assert len(verdicts_of(read_quality(connected, ["1m"]), "1m")) == 1


@pytest.mark.parametrize("value", ["s3://bucket/verdict", None, 7, [7], [{}], {"timeframe": "1m"}])
def test_a_value_of_another_backend_is_left_out(connected: Settings, airflow: FakeAirflow, value: Any) -> None:
    airflow.add_verdict("ohlcv_1m", "r1", [entry("1m", 1)], time(1))
    airflow.add_verdict("ohlcv_1m", "r2", value, time(2))
    assert [each["run_id"] for each in verdicts_of(read_quality(connected, ["1m"]), "1m")] == ["r1"]


def test_an_expired_token_is_renewed(connected: Settings, airflow: FakeAirflow) -> None:
    airflow.add_verdict("ohlcv_1m", "r1", [entry("1m", 1)], time(1))
    read_quality(connected, ["1m"])
    airflow.logins += 1
    airflow.add_verdict("ohlcv_1m", "r2", [entry("1m", 2)], time(2))
    document = read_quality(connected, ["1m"])
    assert document["airflow"] == {"reachable": True, "detail": None}
    assert len(verdicts_of(document, "1m")) == 2


def test_without_airflow_the_document_says_what_to_set(settings: Settings) -> None:
    document = read_quality(settings, ["1m"])
    assert document["airflow"]["reachable"] is False
    assert document["airflow"]["detail"].startswith("OHLCV_AIRFLOW_URL is not set: set it")
    assert document["timeframes"] == [{"name": "1m", "dag_id": "ohlcv_1m", "verdicts": []}]


def test_an_unreachable_airflow_is_reported(connected: Settings, airflow: FakeAirflow) -> None:
    address = replace(airflow.address, url=f"http://{HOST}:{free_port()}")
    document = read_quality(replace(connected, airflow=address), ["1m"])
    assert document["airflow"]["reachable"] is False
    assert document["airflow"]["detail"].startswith(f"Airflow at {address.url} does not answer")
    assert verdicts_of(document, "1m") == []


def test_known_verdicts_are_shown_while_airflow_hangs(
    connected: Settings, airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow.add_verdict("ohlcv_1m", "r1", [entry("1m", 1)], time(1))
    read_quality(connected, ["1m"])
    monkeypatch.setattr(refreshed, "PATIENCE_SECONDS", 0.01)
    airflow.answers.clear()
    assert len(verdicts_of(read_quality(connected, ["1m"]), "1m")) == 1
