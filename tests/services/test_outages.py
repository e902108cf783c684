"""Holes: after a pause and after an outage the following scheduled runs fill what is missing, by themselves."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ohlcv.ingest.loader import append_trades
from ohlcv.ingest.sample_data import Feed
from ohlcv.model.intervals import Range, floor_time, merge_ranges
from ohlcv.model.source_hours import hours_overlapping, parse_hours
from support.processes import processes_with_environment, command_line, wait_for
from support.sites import ENDED, POLL_SECONDS, Run, Site, clock

pytestmark = pytest.mark.services

MINUTE = timedelta(minutes=1)
DAG = "ohlcv_1m"
OUTAGE = timedelta(hours=48)
# As the standard sample: 636,263 trades in thirteen hours.
TRADES_PER_HOUR = 49_000


@pytest.fixture(scope="module")
def feeding(quick_site: Site) -> Iterator[Site]:
    """Trades come in all the time."""
    stopped = threading.Event()
    feed = Feed(floor_time(datetime.now(UTC), MINUTE) - 2 * MINUTE)

    def run() -> None:
        while not stopped.wait(5):
            append_trades(quick_site.settings, feed.batch(datetime.now(UTC), 200))

    append_trades(quick_site.settings, feed.batch(datetime.now(UTC), 2_000))
    thread = threading.Thread(target=run)
    thread.start()
    yield quick_site
    stopped.set()
    thread.join()


def good_runs(site: Site) -> list[Run]:
    return [run for run in site.runs(DAG, "scheduled") if run.state == "success"]


def due_after(site: Site, time: datetime) -> list[Run]:
    return [run for run in good_runs(site) if datetime.fromisoformat(run.interval_end or "") > time]


def test_a_pause_of_three_ticks_leaves_no_hole(feeding: Site) -> None:
    feeding.airflow.unpause(DAG)
    first = wait_for(lambda: good_runs(feeding), "the first run", POLL_SECONDS)[0]
    begin = datetime.fromisoformat(feeding.range_of(first)[0])
    feeding.airflow.pause(DAG)
    paused = floor_time(datetime.now(UTC), MINUTE) + MINUTE
    clock(paused + 3 * MINUTE)
    feeding.airflow.pause(DAG, False)
    resumed = paused + 3 * MINUTE
    later = wait_for(lambda: due_after(feeding, resumed), "a run after the pause", POLL_SECONDS)[-1]
    ranges = [feeding.range_of(run) for run in feeding.runs(DAG, "scheduled") if run.state in ENDED]
    print("scheduled runs:", *ranges, sep="\n  ")
    # The ranges alone leave a hole: the lookback of this site is one minute.
    spans = [Range(datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in ranges]
    assert len(merge_ranges(spans)) > 1
    end = datetime.fromisoformat(feeding.range_of(later)[1])
    assert feeding.assert_exact("1m", begin, end) >= 8 * ((end - begin) // MINUTE) - 8


def test_an_outage_of_two_days_is_filled_over_several_runs_one_of_them_killed(feeding: Site) -> None:
    wait_for(lambda: good_runs(feeding), "progress is recorded", POLL_SECONDS)
    feeding.quiet(DAG)
    known = {run.run_id for run in feeding.runs(DAG)}
    end = floor_time(datetime.now(UTC), timedelta(hours=1)) - timedelta(hours=1)
    begin = end - OUTAGE
    feeding.feed(begin, end, TRADES_PER_HOUR * (OUTAGE // timedelta(hours=1)))
    feeding.airflow.pause(DAG, False)

    def drivers() -> list[int]:
        mark = f"OHLCV_HOME={feeding.settings.home}"
        return [pid for pid in processes_with_environment(mark) if "spark_jobs/ohlcv_" in command_line(pid)]

    def filled_some() -> list[Run]:
        return [run for run in good_runs(feeding) if run.run_id not in known]

    wait_for(filled_some, "a first run after the outage", POLL_SECONDS)
    # One that is under way is killed outright, driver and all.
    for pid in wait_for(drivers, "a second run", POLL_SECONDS):
        os.kill(pid, signal.SIGKILL)

    owed_hours = hours_overlapping([Range(begin, end)])

    def nothing_owed() -> bool:
        summaries = [summary for summary in feeding.summaries("1m") if summary.get("repaired-hours")]
        repaired = [parse_hours(summary["repaired-hours"]) for summary in summaries]
        return owed_hours <= set().union(*repaired)

    # A run a minute, one of them tried again a minute later.
    wait_for(nothing_owed, "every hour is repaired", POLL_SECONDS, patience=1800)
    feeding.succeeds(feeding.run(DAG, feeding.summaries("1m")[-1]["run-id"]))
    feeding.quiet(DAG)
    runs = [run for run in feeding.runs(DAG, "scheduled") if run.run_id not in known and run.state in ENDED]
    print("run, state, tries, seconds of the last try, repaired hours:")
    repaired = {summary["run-id"]: summary["repaired-hours"] for summary in feeding.summaries("1m") if summary}
    for run in runs:
        task = feeding.task(run, "aggregate")
        print(f"  {run.run_id} {run.state} {task['try_number']} {task['duration']:.1f} {repaired.get(run.run_id, '')}")
    assert [run.state for run in runs] == ["success"] * len(runs)
    assert 2 in [feeding.task(run, "aggregate")["try_number"] for run in runs]
    assert len([run for run in runs if repaired.get(run.run_id)]) >= 3
    assert feeding.assert_exact("1m", begin, end) == 8 * (OUTAGE // MINUTE)
