"""Validation in a container of the project's image: the same report, events and exit states as without a container."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployment.containers.conftest import Engine
from ohlcv.model.intervals import Range, floor_time, iso, scheduled_range
from ohlcv.model.timeframes import DAY, TIMEFRAMES
from ohlcv.quality.report import (
    VERDICT_KEY,
    ValidationResult,
    asset_event_extra,
    failure_message,
    format_result,
    verdict,
)
from ohlcv.quality.validator import validate
from support.harness import at
from support.processes import wait_for
from support.sites import POLL_SECONDS, Run, Site, running_site

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]

TODAY = floor_time(datetime.now(UTC), DAY)
BEGIN = TODAY - 3 * DAY
# The generated trades depend on the first day. On this one, every window of 30 minutes has trades of every series.
FIXED_DAY = at("2026-01-30")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Site]:
    environment = {
        "OHLCV_VALIDATION_RUNTIME": "docker",
        "OHLCV_VALIDATION_IMAGE": engine.image,
        "OHLCV_VALIDATION_NETWORK": "host",
        "DOCKER_HOST": engine.address,
        # The fixed day must not expire.
        "OHLCV_RETENTION_DAYS": "36500",
    }
    with running_site(tmp_path_factory.mktemp("site"), environment=environment) as running:
        running.generate_trades(FIXED_DAY, FIXED_DAY + DAY, 10_000)
        running.generate_trades(BEGIN, TODAY, 20_000)
        yield running


@dataclass(frozen=True)
class FirstAttempt:
    """A scheduled run, and what it had left behind before other tests cleared it."""

    run: Run
    log: str
    events: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]
    containers: set[str]


@pytest.fixture(scope="module")
def first_attempt(site: Site, engine: Engine) -> FirstAttempt:
    """Complete the due run of 1d. The next one is not due during these tests."""
    run = site.complete_first_scheduled_run("ohlcv_1d", quiet=timedelta(minutes=15))
    events = site.airflow.call("GET", "/assets/events", source_run_id=run.run_id)["asset_events"]
    return FirstAttempt(run, site.log(run, "validate"), events, read_verdicts(site, run), engine.containers())


def read_verdicts(site: Site, run: Run) -> list[dict[str, Any]]:
    """Return the verdicts of a run, without their times."""
    path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/validate/xcomEntries/{VERDICT_KEY}"
    value: list[dict[str, Any]] = site.airflow.call("GET", path)["value"]
    return [{name: each for name, each in entry.items() if name != "at"} for entry in value]


def without_time(result: ValidationResult) -> dict[str, Any]:
    """Return the verdict of a result, without its time."""
    document = verdict(result, datetime.now(UTC))
    del document["at"]
    return document


@pytest.fixture
def scheduled(first_attempt: FirstAttempt) -> Run:
    return first_attempt.run


def interval_range(run: Run) -> Range:
    """Return the range that a run must build, computed from its data interval."""
    return scheduled_range(TIMEFRAMES["1d"], datetime.fromisoformat(run.interval_end or run.run_after))


def test_a_validation_in_a_container_reports_the_same_as_one_without(
    site: Site, engine: Engine, first_attempt: FirstAttempt
) -> None:
    run = first_attempt.run
    expected = validate(site.settings, TIMEFRAMES["1d"], interval_range(run), run.run_id)
    assert f"Starting docker container from image {engine.image}" in first_attempt.log
    for line in format_result(expected).splitlines():
        assert line in first_attempt.log
    assert expected.candles == 16
    (event,) = first_attempt.events
    expected_extra = asset_event_extra(expected)
    assert {name: event["extra"][name] for name in expected_extra} == expected_extra
    assert first_attempt.verdicts == [without_time(expected)]
    assert first_attempt.containers == set()


def test_reprocessed_days_are_validated_in_containers(site: Site) -> None:
    site.airflow.unpause("ohlcv_reprocess")
    site.wait_until_no_run_is_due("ohlcv_reprocess", timedelta(minutes=10))
    day = {"start": iso(FIXED_DAY), "end": iso(FIXED_DAY + DAY), "timeframes": ["30m", "1h"]}
    dry = site.wait_until_successful(site.trigger("ohlcv_reprocess", {**day, "dry_run": True}))
    assert site.task(dry, "one_day.validate", 0)["state"] == "skipped"
    real = site.wait_until_successful(site.trigger("ohlcv_reprocess", day))
    log = site.log(real, "one_day.validate")
    assert "30m: 384 candles validated" in log
    assert "1h: 192 candles validated" in log
    events = site.airflow.call("GET", "/assets/events", source_run_id=real.run_id)["asset_events"]
    assert {event["extra"]["timeframe"]: event["extra"]["inserted"] for event in events if event["extra"]} == {
        "30m": 384,
        "1h": 192,
    }


def clear_validation(site: Site, run: Run) -> None:
    site.airflow.call(
        "POST",
        f"/dags/{run.dag_id}/clearTaskInstances",
        {"dry_run": False, "task_ids": ["validate"], "dag_run_id": run.run_id, "only_failed": False},
    )


def test_a_wrong_candle_fails_the_task_without_a_retry(site: Site, scheduled: Run) -> None:
    expected = interval_range(scheduled)
    attempts = site.task(scheduled, "validate")["try_number"]
    site.sql(
        "INSERT INTO market_data.gold_ohlcv_1d "
        f"SELECT * FROM market_data.gold_ohlcv_1d WHERE window_start >= TIMESTAMP '{expected.start:%F %T}' LIMIT 1"
    )
    try:
        clear_validation(site, scheduled)
        assert site.wait_until_ended(scheduled).state == "failed"
        task = site.task(scheduled, "validate")
        log = site.log(scheduled, "validate")
        result = validate(site.settings, TIMEFRAMES["1d"], expected, scheduled.run_id)
        message = failure_message([result])
        assert message is not None
        assert "key_is_unique" in message
        assert message in log
        assert read_verdicts(site, scheduled) == [without_time(result)]
        # A retry would find the same candles.
        assert task["try_number"] == attempts + 1, log
    finally:
        # The job replaces the duplicated candle.
        site.clear(scheduled)
        site.wait_until_ended(scheduled)


def test_a_validation_that_cannot_read_the_catalog_is_retried(site: Site, scheduled: Run) -> None:
    attempts = site.task(scheduled, "validate")["try_number"]
    catalog = Path(str(site.settings.catalog.embedded_database))
    away = catalog.parent / "away"
    away.mkdir()
    # With its write-ahead log: SQLite reports an I/O error if the log belongs to another file.
    for path in catalog.parent.glob(f"{catalog.name}*"):
        path.rename(away / path.name)
    clear_validation(site, scheduled)

    def is_waiting_for_retry() -> bool:
        return bool(site.task(scheduled, "validate")["state"] == "up_for_retry")

    try:
        wait_for(is_waiting_for_retry, "the validation waits for its retry", POLL_SECONDS)
        assert "error: " in site.log(scheduled, "validate", attempts + 1)
    finally:
        for path in catalog.parent.glob(f"{catalog.name}*"):
            path.unlink()
        for path in away.iterdir():
            path.rename(catalog.parent / path.name)
    site.wait_until_successful(scheduled)
