"""Gaps after a pause and after an outage: the next scheduled runs fill them without manual work."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ohlcv.model.intervals import Range, floor_time, merge_ranges
from ohlcv.model.source_hours import hours_overlapping, parse_hours
from support.live_sites import DAG, MINUTE, live, successful_runs, successful_runs_due_after
from support.processes import command_line, processes_with_environment, wait_for
from support.sites import ENDED, POLL_SECONDS, Run, Site, wait_until

pytestmark = [pytest.mark.services, pytest.mark.timeout(3600)]

OUTAGE = timedelta(hours=48)
# As in the standard sample: 636,263 trades in thirteen hours. At this rate no minute of a series is without a trade.
TRADES_PER_HOUR = 49_000


@pytest.fixture(scope="module")
def live_site(minutely_site: Site) -> Iterator[Site]:
    with live(minutely_site):
        yield minutely_site


def test_a_pause_of_three_runs_leaves_no_gap(live_site: Site) -> None:
    begin = datetime.fromisoformat(live_site.job_range(successful_runs(live_site)[0])[0])
    live_site.airflow.pause(DAG)
    paused = floor_time(datetime.now(UTC), MINUTE) + MINUTE
    resumed = paused + 3 * MINUTE
    wait_until(resumed)
    live_site.airflow.pause(DAG, False)
    later = wait_for(lambda: successful_runs_due_after(live_site, resumed), "a run after the pause", POLL_SECONDS)[-1]
    job_ranges = [live_site.job_range(run) for run in live_site.runs(DAG, "scheduled") if run.state in ENDED]
    print("scheduled runs:", *job_ranges, sep="\n  ")
    # The runs' own ranges leave a gap, because the lookback of this site is one minute.
    ranges = [Range(datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in job_ranges]
    assert len(merge_ranges(ranges)) > 1
    end = datetime.fromisoformat(live_site.job_range(later)[1])
    assert live_site.assert_exact("1m", begin, end) >= 8 * ((end - begin) // MINUTE) - 8


def test_an_outage_of_two_days_is_filled_by_several_runs_although_one_is_killed(live_site: Site) -> None:
    live_site.pause_and_wait(DAG)
    known = {run.run_id for run in live_site.runs(DAG)}
    end = floor_time(datetime.now(UTC), timedelta(hours=1)) - timedelta(hours=1)
    begin = end - OUTAGE
    live_site.generate_trades(begin, end, TRADES_PER_HOUR * (OUTAGE // timedelta(hours=1)))
    live_site.airflow.pause(DAG, False)

    def find_drivers() -> list[int]:
        pids = processes_with_environment(f"OHLCV_HOME={live_site.settings.home}")
        return [pid for pid in pids if "spark_jobs/ohlcv_" in command_line(pid)]

    def successful_new_runs() -> list[Run]:
        return [run for run in successful_runs(live_site) if run.run_id not in known]

    wait_for(successful_new_runs, "a first run after the outage", POLL_SECONDS)
    for pid in wait_for(find_drivers, "the job of a second run", POLL_SECONDS):
        os.kill(pid, signal.SIGKILL)

    pending_hours = hours_overlapping([Range(begin, end)])

    def all_rebuilt() -> bool:
        summaries = [summary for summary in live_site.summaries("1m") if summary.get("repaired-hours")]
        rebuilt = [parse_hours(summary["repaired-hours"]) for summary in summaries]
        return pending_hours <= set().union(*rebuilt)

    # A run per minute; the killed one is tried again a minute later.
    wait_for(all_rebuilt, "every hour is rebuilt", POLL_SECONDS, patience=1800)
    live_site.wait_until_successful(live_site.run(DAG, live_site.summaries("1m")[-1]["run-id"]))
    live_site.pause_and_wait(DAG)
    runs = [run for run in live_site.runs(DAG, "scheduled") if run.run_id not in known and run.state in ENDED]
    print("run, state, attempts, seconds of the last attempt, rebuilt hours:")
    rebuilt = {summary["run-id"]: summary["repaired-hours"] for summary in live_site.summaries("1m") if summary}
    for run in runs:
        task = live_site.task(run, "aggregate")
        print(f"  {run.run_id} {run.state} {task['try_number']} {task['duration']:.1f} {rebuilt.get(run.run_id, '')}")
    assert [run.state for run in runs] == ["success"] * len(runs)
    assert 2 in [live_site.task(run, "aggregate")["try_number"] for run in runs]
    assert len([run for run in runs if rebuilt.get(run.run_id)]) >= 3
    assert live_site.assert_exact("1m", begin, end) == 8 * (OUTAGE // MINUTE)
