"""Runs of every type on real services: the range that each job receives, and the candles stored afterwards."""

from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.demo.local_airflow import VIEWER
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import HOUR, Range, floor_time, iso, scheduled_range
from ohlcv.model.timeframes import DAY, TIMEFRAMES
from ohlcv.monitoring.health import runs as health_of_runs
from ohlcv.monitoring.health import workers
from ohlcv.web.data import CandleData
from ohlcv.web.quality import read_quality
from ohlcv.web.status import read_status
from support.harness import trade
from support.processes import wait_for
from support.sites import POLL_SECONDS, Run, Site

pytestmark = [pytest.mark.services, pytest.mark.timeout(3600)]

NOW = datetime.now(UTC)
TODAY = floor_time(NOW, DAY)
# Four complete days and the present one. Only the reprocessing test builds the first two: the scheduled run of
# ohlcv_reprocess, at 01:30, takes yesterday, or before 01:30 the day before yesterday.
BEGIN = TODAY - 4 * DAY


@pytest.fixture(scope="module")
def loaded_site(site: Site) -> Site:
    site.generate_trades(BEGIN, NOW, 50_000)
    return site


@dataclass(frozen=True)
class FirstAttempt:
    """A scheduled run, and what it had left behind before other tests cleared it."""

    run: Run
    job_range: tuple[str, str]
    arguments: dict[str, str]
    task_states: dict[str, str]
    summaries: list[dict[str, str]]
    events: list[dict[str, Any]]


@pytest.fixture(scope="module")
def first_attempt(loaded_site: Site) -> FirstAttempt:
    """Complete the due run of 1d. The next one is not due during these tests."""
    run = loaded_site.complete_first_scheduled_run("ohlcv_1d", quiet=timedelta(minutes=15))
    tasks = loaded_site.airflow.tasks("ohlcv_1d", run.run_id)
    return FirstAttempt(
        run,
        loaded_site.job_range(run),
        loaded_site.job_arguments(run),
        {name: task["state"] for name, task in tasks.items()},
        loaded_site.summaries("1d"),
        loaded_site.airflow.call("GET", "/assets/events", source_run_id=run.run_id)["asset_events"],
    )


@pytest.fixture
def scheduled(first_attempt: FirstAttempt) -> Run:
    return first_attempt.run


def interval_range(run: Run, name: str) -> Range:
    """Return the range that a run must build, computed from its data interval."""
    return scheduled_range(TIMEFRAMES[name], datetime.fromisoformat(run.interval_end or run.run_after))


def test_a_scheduled_run_builds_its_lookback_and_validates_it(loaded_site: Site, first_attempt: FirstAttempt) -> None:
    expected = interval_range(first_attempt.run, "1d")
    assert first_attempt.job_range == (iso(expected.start), iso(expected.end))
    assert first_attempt.arguments["--rebuild-pending"] == "yes"
    assert loaded_site.assert_exact("1d", expected.start, expected.end) == 16
    (summary,) = first_attempt.summaries
    assert (summary["dag-id"], summary["run-id"]) == ("ohlcv_1d", first_attempt.run.run_id)
    assert first_attempt.task_states == {"aggregate": "success", "validate": "success"}
    (event,) = first_attempt.events
    assert event["extra"]["ranges"] == [{"start": iso(expected.start), "end": iso(expected.end)}]
    assert (event["extra"]["inserted"], event["extra"]["candles_checked"]) == (16, 16)


def connected(site: Site) -> Settings:
    """Return the settings of a program outside of Airflow that reads tables, runs and workers."""
    return load_settings(
        {
            "OHLCV_HOME": str(site.settings.home),
            "OHLCV_SPARK_WEB": site.cluster.web,
            "OHLCV_AIRFLOW_URL": site.airflow.url,
            "OHLCV_AIRFLOW_USER": VIEWER,
            "OHLCV_AIRFLOW_PASSWORD": site.airflow.passwords[VIEWER],
        }
    )


def test_health_measures_runs_and_workers(loaded_site: Site, scheduled: Run) -> None:
    settings = connected(loaded_site)
    assert workers(settings).found == "1 alive, 1 cores, 1,024 MiB"
    found = {(each.subject, each.aspect): each.found for each in health_of_runs(settings, datetime.now(UTC))}
    assert found["1d", "runs in 24 h"] == "1 of 1 successful (100.0%)"
    assert found["1d", "last job"] == f"{loaded_site.task(scheduled, 'aggregate')['duration']:.1f} s"
    assert found["1m", "runs in 24 h"] == "no run has ended"


def wait_for_verdict(site: Site, timeframe: str, dag_id: str, passed: bool, map_index: int = -1) -> dict[str, Any]:
    """Wait for the newest verdict of a timeframe, and return it."""

    def find() -> dict[str, Any] | None:
        # On a busy machine Airflow answers after the first call has returned.
        verdicts: list[dict[str, Any]] = read_quality(connected(site), [timeframe])["timeframes"][0]["verdicts"]
        wanted = (dag_id, passed, map_index)
        origin = [(each["dag_id"], each["passed"], each["map_index"]) for each in verdicts[:1]]
        return verdicts[0] if origin == [wanted] else None

    return wait_for(find, f"the newest verdict of {timeframe} is one of {dag_id}", POLL_SECONDS)


def test_a_run_has_a_verdict_and_a_status(loaded_site: Site, first_attempt: FirstAttempt) -> None:
    run = first_attempt.run
    verdict = wait_for_verdict(loaded_site, "1d", "ohlcv_1d", passed=True)
    expected = interval_range(run, "1d")
    assert (verdict["run_id"], verdict["candles"], verdict["failures"]) == (run.run_id, 16, 0)
    assert verdict["ranges"] == [{"start": iso(expected.start), "end": iso(expected.end)}]
    assert {rule["findings"] for rule in verdict["rules"].values() if rule["severity"] == "FAIL"} == {0}
    settings = connected(loaded_site)
    data = CandleData(settings)
    data.refresh()

    def find_runs() -> dict[str, Any] | None:
        found = read_status(settings, data, ["1d", "1m"])
        return found if found["airflow"]["reachable"] else None

    document = wait_for(find_runs, "the status contains the runs", POLL_SECONDS)
    status, other = document["timeframes"]
    duration = loaded_site.task(run, "aggregate")["duration"]
    assert (status["paused"], status["runs_24h"], status["succeeded_24h"], status["rows"]) == (False, 1, 1, 16)
    last_run = status["last_run"]
    assert (last_run["run_id"], last_run["run_type"], last_run["state"]) == (run.run_id, "scheduled", "success")
    assert last_run["duration_seconds"] == duration
    assert [(each["run_id"], each["duration_seconds"]) for each in status["durations"]] == [(run.run_id, duration)]
    assert (status["newest_window_end"], status["withheld"]) == (iso(expected.end), 0)
    assert (other["paused"], other["last_run"], other["durations"], other["rows"]) == (True, None, [], 0)


def test_a_cleared_run_builds_exactly_its_range_and_commits_nothing_when_nothing_changed(
    loaded_site: Site, scheduled: Run
) -> None:
    snapshots, built = loaded_site.snapshots("1d"), loaded_site.job_range(scheduled)
    loaded_site.clear(scheduled)
    loaded_site.wait_until_successful(scheduled)
    assert loaded_site.job_range(scheduled) == built
    assert loaded_site.job_arguments(scheduled)["--rebuild-pending"] == "no"
    assert loaded_site.snapshots("1d") == snapshots


def test_a_run_cleared_after_a_late_trade_updates_only_that_candle(loaded_site: Site, scheduled: Run) -> None:
    expected = interval_range(scheduled, "1d")
    before, snapshots = loaded_site.stored_candles("1d"), loaded_site.snapshots("1d")
    loaded_site.load([trade(expected.start + timedelta(minutes=7), "94000", "3", symbol="BTC-USD", exchange="binance")])
    loaded_site.clear(scheduled)
    loaded_site.wait_until_successful(scheduled)
    after = loaded_site.stored_candles("1d")
    changed = [key for key in after if after[key] != before[key]]
    assert [key[:2] for key in changed] == [("BTC-USD", "binance")]
    assert after[changed[0]].candle.trade_count == before[changed[0]].candle.trade_count + 1
    assert (after[changed[0]].created_at, len(loaded_site.snapshots("1d"))) == (
        before[changed[0]].created_at,
        len(snapshots) + 1,
    )
    loaded_site.assert_exact("1d", expected.start, expected.end)


def test_a_failed_validation_has_a_verdict(loaded_site: Site, scheduled: Run) -> None:
    start = interval_range(scheduled, "1d").start
    loaded_site.sql(
        "UPDATE market_data.gold_ohlcv_1d SET volume = volume + 1 "
        f"WHERE symbol = 'BTC-USD' AND exchange = 'binance' AND window_start = TIMESTAMP '{start:%F %T}'"
    )
    loaded_site.airflow.call(
        "POST",
        f"/dags/{scheduled.dag_id}/clearTaskInstances",
        {"dry_run": False, "task_ids": ["validate"], "dag_run_id": scheduled.run_id, "only_failed": False},
    )
    assert loaded_site.wait_until_ended(scheduled).state == "failed"
    verdict = wait_for_verdict(loaded_site, "1d", "ohlcv_1d", passed=False)
    (finding,) = [each for each in verdict["findings"] if each["rule"] == "fields_equal_the_trades"]
    assert (finding["symbol"], finding["exchange"], finding["window_start"]) == ("BTC-USD", "binance", iso(start))
    assert (verdict["run_id"], verdict["rules"]["fields_equal_the_trades"]["findings"]) == (scheduled.run_id, 1)
    # The job replaces the wrong candle, and the next try replaces the verdict.
    loaded_site.clear(scheduled)
    loaded_site.wait_until_successful(scheduled)
    assert wait_for_verdict(loaded_site, "1d", "ohlcv_1d", passed=True)["run_id"] == scheduled.run_id


def test_a_task_links_to_its_running_application_and_afterwards_to_the_master(loaded_site: Site) -> None:
    loaded_site.airflow.unpause("ohlcv_30m")
    run = loaded_site.trigger("ohlcv_30m")

    def read_link() -> str | None:
        path = f"/dags/ohlcv_30m/dagRuns/{run.run_id}/taskInstances/aggregate/links"
        found: str | None = loaded_site.airflow.call("GET", path)["extra_links"]["Spark UI"]
        return found

    address = wait_for(read_link, "the link exists", POLL_SECONDS)
    assert re.fullmatch(re.escape(loaded_site.cluster.web) + r"/app/\?appId=app-\d+-\d+", address)
    with urllib.request.urlopen(address) as page:
        assert f"ohlcv 30m {run.run_id}" in page.read().decode()
    loaded_site.wait_until_successful(run)
    assert read_link() == loaded_site.cluster.web


def test_manual_runs_build_the_range_of_their_date_or_parameters(loaded_site: Site) -> None:
    """Trigger three runs: with a date, without a date, with a range."""
    loaded_site.airflow.unpause("ohlcv_5m")
    dated = loaded_site.trigger("ohlcv_5m", logical_date=iso(TODAY - DAY + 6 * HOUR + timedelta(minutes=1)))
    undated = loaded_site.trigger("ohlcv_5m")
    ranged = loaded_site.trigger(
        "ohlcv_5m", {"start": iso(TODAY - DAY + timedelta(minutes=3)), "end": iso(TODAY - DAY + timedelta(minutes=11))}
    )
    for run in (dated, undated, ranged):
        loaded_site.wait_until_successful(run)
        assert loaded_site.job_arguments(run)["--rebuild-pending"] == "no"
    # At 06:01, the last complete interval was 05:35 to 05:50.
    assert loaded_site.job_range(dated) == tuple(
        iso(TODAY - DAY + 6 * HOUR + timedelta(minutes=minutes)) for minutes in (-30, -10)
    )
    assert undated.interval_end is None
    expected = interval_range(undated, "5m")
    assert loaded_site.job_range(undated) == (iso(expected.start), iso(expected.end))
    # A range is widened to whole windows.
    assert loaded_site.job_range(ranged) == (iso(TODAY - DAY), iso(TODAY - DAY + timedelta(minutes=15)))
    assert loaded_site.assert_exact("5m", TODAY - DAY, TODAY - DAY + timedelta(minutes=15)) > 0


REJECTED: list[tuple[str, dict[str, Any], str]] = [
    ("ohlcv_5m", {"prune": "perhaps"}, "'perhaps' is not of type 'boolean'"),
    ("ohlcv_reprocess", {"timeframes": ["1m", "7m"]}, "'7m' is not one of"),
    ("ohlcv_reprocess", {"timeframes": []}, "[] should be non-empty"),
]


@pytest.mark.parametrize(("dag_id", "conf", "message"), REJECTED)
def test_the_trigger_form_rejects_invalid_parameters(
    loaded_site: Site, dag_id: str, conf: dict[str, Any], message: str
) -> None:
    with pytest.raises(OhlcvError, match=re.escape(message)):
        loaded_site.trigger(dag_id, conf)


INVALID: list[tuple[str, dict[str, str], str]] = [
    # Without the packages of the tests, the REST API accepts any text in place of a time.
    ("ohlcv_5m", {"start": "0001-01-01T00:00:00+14:00", "end": "2026-01-01T00:00:00Z"}, "lies outside the years 1 to"),
    ("ohlcv_5m", {"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, "must be before end"),
    ("ohlcv_5m", {"start": "2999-01-01T00:00:00Z", "end": "2999-01-02T00:00:00Z"}, "no 5m window is complete yet"),
    ("ohlcv_reprocess", {"start": "2999-01-01T00:00:00Z", "end": "2999-01-02T00:00:00Z"}, "lies in the future"),
]


def test_runs_with_invalid_ranges_fail_without_retries_and_without_spark(loaded_site: Site) -> None:
    loaded_site.airflow.unpause("ohlcv_5m", "ohlcv_reprocess")
    runs = [(loaded_site.trigger(dag_id, conf), message) for dag_id, conf, message in INVALID]
    for run, message in runs:
        assert loaded_site.wait_until_ended(run).state == "failed"
        first = "aggregate" if run.dag_id == "ohlcv_5m" else "days"
        task = loaded_site.task(run, first)
        # A retry cannot help, so there is none.
        assert (task["state"], task["try_number"]) == ("failed", 1)
        log = loaded_site.log(run, first)
        assert message in log
        assert "spark application: " not in log


def test_days_are_reprocessed_in_all_timeframes_after_a_dry_run_that_changes_nothing(loaded_site: Site) -> None:
    # Unpausing starts the scheduled run. Let it end first.
    loaded_site.airflow.unpause("ohlcv_reprocess")
    loaded_site.wait_until_no_run_is_due("ohlcv_reprocess", timedelta(minutes=10))
    # DAGs of the other timeframes may run at the same time.
    names = ["1m", "1h"]
    two_days = {"start": iso(BEGIN), "end": iso(BEGIN + 2 * DAY), "timeframes": names}
    before = {name: loaded_site.snapshots(name) for name in names}
    dry = loaded_site.wait_until_successful(loaded_site.trigger("ohlcv_reprocess", {**two_days, "dry_run": True}))
    assert {name: loaded_site.snapshots(name) for name in names} == before
    for index in (0, 1):
        assert loaded_site.task(dry, "one_day.rebuild", index)["state"] == "success"
        assert loaded_site.task(dry, "one_day.validate", index)["state"] == "skipped"
    assert "1h: would be 192 inserted" in loaded_site.log(dry, "one_day.rebuild")
    real = loaded_site.wait_until_successful(loaded_site.trigger("ohlcv_reprocess", two_days))
    assert loaded_site.task(real, "one_day.validate", 1)["state"] == "success"
    assert [len(loaded_site.snapshots(name)) - len(before[name]) for name in names] == [2, 2]
    assert loaded_site.assert_exact("1h", BEGIN, BEGIN + 2 * DAY) == 384
    assert loaded_site.assert_exact("1m", BEGIN, BEGIN + 2 * DAY) > 384
    verdict = wait_for_verdict(loaded_site, "1h", "ohlcv_reprocess", passed=True, map_index=1)
    assert verdict["ranges"] == [{"start": iso(BEGIN + DAY), "end": iso(BEGIN + 2 * DAY)}]
