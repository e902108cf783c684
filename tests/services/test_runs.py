"""Runs of every kind on real services: what each is told to build, and what the tables hold afterwards."""

from __future__ import annotations

import re
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.demo.local_airflow import USER
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import HOUR, Range, floor_time, iso, scheduled_range
from ohlcv.model.timeframes import DAY, TIMEFRAMES
from ohlcv.monitoring.health import runs as health_of_runs
from ohlcv.monitoring.health import workers
from support.harness import trade
from support.processes import wait_for
from support.sites import POLL_SECONDS, Run, Site

NOW = datetime.now(UTC)
TODAY = floor_time(NOW, DAY)
# Four whole days behind us, and today so far. The first two are nobody's but the test's that rebuilds them: the night's
# run, half past one, takes the day before, or until then the one before that.
BEGIN = TODAY - 4 * DAY


@pytest.fixture(scope="module")
def fed(site: Site) -> Site:
    site.feed(BEGIN, NOW, 50_000)
    return site


@pytest.fixture(scope="module")
def scheduled(fed: Site) -> Run:
    """The newest scheduled run of 1d, ended well: no other comes before midnight."""
    return fed.first_scheduled("ohlcv_1d")


def own_range(run: Run, name: str) -> Range:
    return scheduled_range(TIMEFRAMES[name], datetime.fromisoformat(run.interval_end or run.run_after))


def test_a_scheduled_run_builds_its_lookback_and_checks_it(fed: Site, scheduled: Run) -> None:
    own = own_range(scheduled, "1d")
    assert fed.range_of(scheduled) == (iso(own.start), iso(own.end))
    assert fed.arguments(scheduled)["--rebuild-pending"] == "yes"
    assert fed.assert_exact("1d", own.start, own.end) == 16
    (summary,) = fed.summaries("1d")
    assert (summary["dag-id"], summary["run-id"]) == ("ohlcv_1d", scheduled.run_id)
    tasks = fed.airflow.tasks("ohlcv_1d", scheduled.run_id)
    assert {name: task["state"] for name, task in tasks.items()} == {"aggregate": "success", "validate": "success"}
    (event,) = fed.airflow.call("GET", "/assets/events", source_run_id=scheduled.run_id)["asset_events"]
    assert event["extra"]["ranges"] == [{"start": iso(own.start), "end": iso(own.end)}]
    assert (event["extra"]["inserted"], event["extra"]["candles_checked"]) == (16, 16)


def test_health_asks_airflow_and_the_master(fed: Site, scheduled: Run) -> None:
    settings = load_settings(
        {
            "OHLCV_HOME": str(fed.settings.home),
            "OHLCV_SPARK_WEB": fed.cluster.web,
            "OHLCV_AIRFLOW_URL": fed.airflow.url,
            "OHLCV_AIRFLOW_USER": USER,
            "OHLCV_AIRFLOW_PASSWORD": fed.airflow.password,
        }
    )
    assert workers(settings).found == "1 alive, 1 cores, 1,024 MiB"
    told = {(each.subject, each.aspect): each.found for each in health_of_runs(settings, datetime.now(UTC))}
    assert told["1d", "runs in 24 h"] == "1 of 1 good (100.0%)"
    assert told["1d", "last job"] == f"{fed.task(scheduled, 'aggregate')['duration']:.1f} s"
    assert told["1m", "runs in 24 h"] == "none has ended"


def test_a_cleared_run_builds_exactly_its_range_and_commits_nothing_when_nothing_changed(
    fed: Site, scheduled: Run
) -> None:
    before, told = fed.snapshots("1d"), fed.range_of(scheduled)
    fed.clear(scheduled)
    fed.succeeds(scheduled)
    assert fed.range_of(scheduled) == told
    assert fed.arguments(scheduled)["--rebuild-pending"] == "no"
    assert fed.snapshots("1d") == before


def test_a_run_cleared_after_a_late_trade_updates_that_candle_alone(fed: Site, scheduled: Run) -> None:
    own = own_range(scheduled, "1d")
    before, snapshots = fed.stored("1d"), fed.snapshots("1d")
    fed.load([trade(own.start + timedelta(minutes=7), "94000", "3", symbol="BTC-USD", exchange="binance")])
    fed.clear(scheduled)
    fed.succeeds(scheduled)
    after = fed.stored("1d")
    moved = [key for key in after if after[key] != before[key]]
    assert [key[:2] for key in moved] == [("BTC-USD", "binance")]
    assert after[moved[0]].candle.trade_count == before[moved[0]].candle.trade_count + 1
    assert (after[moved[0]].created_at, len(fed.snapshots("1d"))) == (before[moved[0]].created_at, len(snapshots) + 1)
    fed.assert_exact("1d", own.start, own.end)


def test_a_task_links_to_its_application_while_it_runs_and_to_the_master_after(fed: Site) -> None:
    fed.airflow.unpause("ohlcv_30m")
    run = fed.trigger("ohlcv_30m")

    def link() -> str | None:
        path = f"/dags/ohlcv_30m/dagRuns/{run.run_id}/taskInstances/aggregate/links"
        found: str | None = fed.airflow.call("GET", path)["extra_links"]["Spark UI"]
        return found

    address = wait_for(link, "the link is there", POLL_SECONDS)
    assert re.fullmatch(re.escape(fed.cluster.web) + r"/app/\?appId=app-\d+-\d+", address)
    with urllib.request.urlopen(address) as page:
        assert f"ohlcv 30m {run.run_id}" in page.read().decode()
    fed.succeeds(run)
    assert link() == fed.cluster.web


@pytest.mark.services
def test_runs_by_hand_build_what_their_dates_or_ranges_say(fed: Site) -> None:
    """One with a date, one without, one with a range: three runs, one after another."""
    fed.airflow.unpause("ohlcv_5m")
    dated = fed.trigger("ohlcv_5m", logical_date=iso(TODAY - DAY + 6 * HOUR + timedelta(minutes=1)))
    undated = fed.trigger("ohlcv_5m")
    ranged = fed.trigger(
        "ohlcv_5m", {"start": iso(TODAY - DAY + timedelta(minutes=3)), "end": iso(TODAY - DAY + timedelta(minutes=11))}
    )
    for run in (dated, undated, ranged):
        fed.succeeds(run)
        assert fed.arguments(run)["--rebuild-pending"] == "no"
    # The last interval that had ended at 06:01 is that from 05:35 to 05:50.
    assert fed.range_of(dated) == tuple(
        iso(TODAY - DAY + 6 * HOUR + timedelta(minutes=minutes)) for minutes in (-30, -10)
    )
    assert undated.interval_end is None
    own = own_range(undated, "5m")
    assert fed.range_of(undated) == (iso(own.start), iso(own.end))
    # Widened to whole windows.
    assert fed.range_of(ranged) == (iso(TODAY - DAY), iso(TODAY - DAY + timedelta(minutes=15)))
    assert fed.assert_exact("5m", TODAY - DAY, TODAY - DAY + timedelta(minutes=15)) > 0


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("ohlcv_5m", {"prune": "perhaps"}, "'perhaps' is not of type 'boolean'"),
    ("ohlcv_reprocess", {"timeframes": ["1m", "7m"]}, "'7m' is not one of"),
    ("ohlcv_reprocess", {"timeframes": []}, "[] should be non-empty"),
]


@pytest.mark.parametrize(("dag_id", "conf", "complaint"), REFUSED)
def test_a_form_refuses_what_cannot_be_meant(fed: Site, dag_id: str, conf: dict[str, Any], complaint: str) -> None:
    with pytest.raises(OhlcvError, match=re.escape(complaint)):
        fed.trigger(dag_id, conf)


WRONG: list[tuple[str, dict[str, str], str]] = [
    # The form has a calendar; the REST interface takes any text.
    ("ohlcv_5m", {"start": "yesterday", "end": "2026-01-01T00:00:00Z"}, "'yesterday' is not an ISO time"),
    ("ohlcv_5m", {"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, "must be before end"),
    ("ohlcv_5m", {"start": "2999-01-01T00:00:00Z", "end": "2999-01-02T00:00:00Z"}, "no 5m window is complete yet"),
    ("ohlcv_reprocess", {"start": "2999-01-01T00:00:00Z", "end": "2999-01-02T00:00:00Z"}, "lies in the future"),
]


@pytest.mark.services
def test_ranges_that_cannot_be_meant_fail_at_once_without_spark(fed: Site) -> None:
    fed.airflow.unpause("ohlcv_5m", "ohlcv_reprocess")
    runs = [(fed.trigger(dag_id, conf), complaint) for dag_id, conf, complaint in WRONG]
    for run, complaint in runs:
        assert fed.ended(run).state == "failed"
        first = "aggregate" if run.dag_id == "ohlcv_5m" else "days"
        task = fed.task(run, first)
        # Once, without the retries of a job that might work the next time.
        assert (task["state"], task["try_number"]) == ("failed", 1)
        log = fed.log(run, first)
        assert complaint in log
        assert "spark application: " not in log


def test_days_are_reprocessed_in_all_timeframes_after_a_dry_run_that_changes_nothing(fed: Site) -> None:
    # The night's run, which unpausing starts, is not what this is about.
    fed.first_scheduled("ohlcv_reprocess")
    # The other timeframes' DAGs may be at work meanwhile.
    names = ["1m", "1h"]
    two_days = {"start": iso(BEGIN), "end": iso(BEGIN + 2 * DAY), "timeframes": names}
    before = {name: fed.snapshots(name) for name in names}
    dry = fed.succeeds(fed.trigger("ohlcv_reprocess", {**two_days, "dry_run": True}))
    assert {name: fed.snapshots(name) for name in names} == before
    for index in (0, 1):
        assert fed.task(dry, "one_day.rebuild", index)["state"] == "success"
        assert fed.task(dry, "one_day.validate", index)["state"] == "skipped"
    assert "1h: would be 192 inserted" in fed.log(dry, "one_day.rebuild")
    real = fed.succeeds(fed.trigger("ohlcv_reprocess", two_days))
    assert fed.task(real, "one_day.validate", 1)["state"] == "success"
    assert [len(fed.snapshots(name)) - len(before[name]) for name in names] == [2, 2]
    assert fed.assert_exact("1h", BEGIN, BEGIN + 2 * DAY) == 384
    assert fed.assert_exact("1m", BEGIN, BEGIN + 2 * DAY) > 384
