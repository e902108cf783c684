"""Validation in a container of the project's image, on real services: the same report, events and ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployment.containers.conftest import Engine
from ohlcv.model.intervals import Range, floor_time, iso, scheduled_range
from ohlcv.model.timeframes import DAY, TIMEFRAMES
from ohlcv.quality.report import asset_event_extra, failure_message, format_result
from ohlcv.quality.validator import validate
from support.processes import wait_for
from support.sites import POLL_SECONDS, Run, Site, running_site

pytestmark = pytest.mark.containers

TODAY = floor_time(datetime.now(UTC), DAY)
BEGIN = TODAY - 3 * DAY


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Site]:
    environment = {
        "OHLCV_VALIDATION_RUNTIME": "docker",
        "OHLCV_VALIDATION_IMAGE": engine.image,
        "OHLCV_VALIDATION_NETWORK": "host",
        "DOCKER_HOST": engine.address,
    }
    with running_site(tmp_path_factory.mktemp("site"), environment=environment) as running:
        running.feed(BEGIN, TODAY, 20_000)
        yield running


@pytest.fixture(scope="module")
def scheduled(site: Site) -> Run:
    return site.first_scheduled("ohlcv_1d")


def own_range(run: Run) -> Range:
    return scheduled_range(TIMEFRAMES["1d"], datetime.fromisoformat(run.interval_end or run.run_after))


def test_a_run_is_checked_in_a_container_as_it_would_be_here(site: Site, engine: Engine, scheduled: Run) -> None:
    here = validate(site.settings, TIMEFRAMES["1d"], own_range(scheduled), scheduled.run_id)
    log = site.log(scheduled, "validate")
    assert f"Starting docker container from image {engine.image}" in log
    for line in format_result(here).splitlines():
        assert line in log
    assert here.candles == 16
    (event,) = site.airflow.call("GET", "/assets/events", source_run_id=scheduled.run_id)["asset_events"]
    assert {name: event["extra"][name] for name in asset_event_extra(here)} == asset_event_extra(here)
    assert engine.containers() == []


def test_reprocessed_days_are_checked_in_containers(site: Site) -> None:
    site.airflow.unpause("ohlcv_reprocess")
    for run in site.runs("ohlcv_reprocess"):
        site.ended(run)
    day = {"start": iso(BEGIN), "end": iso(BEGIN + DAY), "timeframes": ["30m", "1h"]}
    dry = site.succeeds(site.trigger("ohlcv_reprocess", {**day, "dry_run": True}))
    assert site.task(dry, "one_day.validate", 0)["state"] == "skipped"
    real = site.succeeds(site.trigger("ohlcv_reprocess", day))
    log = site.log(real, "one_day.validate")
    assert "30m: 384 candles checked" in log
    assert "1h: 192 candles checked" in log
    events = site.airflow.call("GET", "/assets/events", source_run_id=real.run_id)["asset_events"]
    assert {event["extra"]["timeframe"]: event["extra"]["inserted"] for event in events if event["extra"]} == {
        "30m": 384,
        "1h": 192,
    }


def check_again(site: Site, run: Run) -> Run:
    site.airflow.call(
        "POST",
        f"/dags/{run.dag_id}/clearTaskInstances",
        {"dry_run": False, "task_ids": ["validate"], "dag_run_id": run.run_id, "only_failed": False},
    )
    return site.ended(run)


def test_a_wrong_candle_fails_the_task_at_once_with_the_same_words(site: Site, scheduled: Run) -> None:
    own = own_range(scheduled)
    site.sql(
        "INSERT INTO market_data.gold_ohlcv_1d "
        f"SELECT * FROM market_data.gold_ohlcv_1d WHERE window_start >= TIMESTAMP '{own.start:%F %T}' LIMIT 1"
    )
    assert check_again(site, scheduled).state == "failed"
    task = site.task(scheduled, "validate")
    log = site.log(scheduled, "validate")
    words = failure_message([validate(site.settings, TIMEFRAMES["1d"], own_range(scheduled), scheduled.run_id)])
    assert words is not None
    assert "key_is_unique" in words
    assert words in log
    # Candles that are wrong are wrong the second time too.
    assert task["try_number"] == 2, log


def test_a_check_that_could_not_be_made_is_tried_again(site: Site, scheduled: Run) -> None:
    catalog = Path(site.settings.catalog.database)
    before = site.task(scheduled, "validate")["try_number"]
    catalog.rename(catalog.with_suffix(".away"))
    site.airflow.call(
        "POST",
        f"/dags/{scheduled.dag_id}/clearTaskInstances",
        {"dry_run": False, "task_ids": ["validate"], "dag_run_id": scheduled.run_id, "only_failed": False},
    )

    def tried() -> bool:
        return bool(site.task(scheduled, "validate")["state"] == "up_for_retry")

    try:
        wait_for(tried, "the check is to be made again", POLL_SECONDS)
        assert "error: " in site.log(scheduled, "validate", before + 1)
    finally:
        catalog.with_suffix(".away").rename(catalog)
    site.ended(scheduled)
