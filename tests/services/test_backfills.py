"""Backfills on real services, created by the REST API and by `airflow dags backfill`."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ohlcv.model.intervals import HOUR, Range, floor_time, iso, scheduled_range
from ohlcv.model.timeframes import DAY, TIMEFRAMES
from support.harness import trade
from support.processes import wait_for
from support.sites import POLL_SECONDS, Run, Site

pytestmark = [pytest.mark.services, pytest.mark.timeout(3600)]

TODAY = floor_time(datetime.now(UTC), DAY)
BEGIN = TODAY - 4 * DAY
# The trades end a day ago, so at no time of the day does a scheduled run of 1h find trades and commit.
END = TODAY - DAY
# Three intervals of ohlcv_1h begin in this range: 06:15, 07:15 and 08:15.
FROM, TO = BEGIN + DAY + 6 * HOUR, BEGIN + DAY + 9 * HOUR
DAG = "ohlcv_1h"


@pytest.fixture(scope="module")
def loaded_site(site: Site) -> Site:
    site.generate_trades(BEGIN, END, 30_000)
    return site


def interval_range(run: Run, name: str) -> Range:
    """Return the range that a run must build, computed from its data interval."""
    assert run.interval_end is not None
    return scheduled_range(TIMEFRAMES[name], datetime.fromisoformat(run.interval_end))


def backfill(site: Site, behavior: str) -> list[Run]:
    """Backfill the three intervals, and return their runs after the end."""
    created = site.create_backfill(DAG, FROM, TO, behavior)
    path = f"/backfills/{created}"
    wait_for(lambda: site.airflow.call("GET", path)["completed_at"], f"backfill {created} ends", POLL_SECONDS)
    return site.runs(DAG, "backfill")


def start_times(site: Site, runs: list[Run]) -> list[str]:
    return [site.task(run, "aggregate")["start_date"] for run in runs]


def test_each_reprocess_behavior_selects_the_documented_runs(loaded_site: Site) -> None:
    loaded_site.airflow.unpause(DAG)
    runs = backfill(loaded_site, "none")
    assert [run.state for run in runs] == ["success"] * 3
    for run in runs:
        own_range = interval_range(run, "1h")
        assert loaded_site.job_range(run) == (iso(own_range.start), iso(own_range.end))
        assert loaded_site.job_arguments(run)["--rebuild-pending"] == "no"
        loaded_site.assert_exact("1h", own_range.start, own_range.end)
    first, snapshots = start_times(loaded_site, runs), loaded_site.snapshots("1h")

    # None: an interval that has a run keeps it.
    assert start_times(loaded_site, backfill(loaded_site, "none")) == first

    # Failed: only failed runs run again.
    loaded_site.airflow.call("PATCH", f"/dags/{DAG}/dagRuns/{runs[1].run_id}", {"state": "failed"})
    second = start_times(loaded_site, backfill(loaded_site, "failed"))
    assert [before == after for before, after in zip(first, second, strict=True)] == [True, False, True]

    # Completed: all runs run again. One late trade causes one commit, which changes only the candle of its window.
    assert loaded_site.snapshots("1h") == snapshots
    loaded_site.load(
        [trade(FROM + 2 * HOUR + timedelta(minutes=5), "94000", "2", symbol="BTC-USD", exchange="binance")]
    )
    before = loaded_site.stored_candles("1h")
    third = start_times(loaded_site, backfill(loaded_site, "completed"))
    assert [earlier == later for earlier, later in zip(second, third, strict=True)] == [False] * 3
    assert len(loaded_site.snapshots("1h")) == len(snapshots) + 1
    after = loaded_site.stored_candles("1h")
    assert [key[:2] for key in after if after[key] != before[key]] == [("BTC-USD", "binance")]
    loaded_site.assert_exact("1h", interval_range(runs[0], "1h").start, interval_range(runs[-1], "1h").end)


def run_backfill_command(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("airflow"))
    return subprocess.run(
        [program, "dags", "backfill", *arguments],
        env=site.airflow.environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_backfill_command_runs_whole_days_and_waits(loaded_site: Site) -> None:
    loaded_site.airflow.unpause("ohlcv_1d")
    first, last = BEGIN.date().isoformat(), (BEGIN + DAY).date().isoformat()
    plan = run_backfill_command(loaded_site, "-s", first, "-e", last, "--dry-run", "ohlcv_1d")
    intervals = [f"{iso(BEGIN + n * DAY + timedelta(minutes=5))[:-1]}+00:00" for n in range(3)]
    assert plan.stdout.splitlines() == [f"{intervals[0]} .. {intervals[1]}", f"{intervals[1]} .. {intervals[2]}"]
    assert "dry run: 2 runs would be created" in plan.stderr
    assert loaded_site.runs("ohlcv_1d", "backfill") == []

    done = run_backfill_command(loaded_site, "-s", first, "-e", last, "ohlcv_1d")
    assert done.returncode == 0, done.stderr
    assert "created:" in done.stderr
    assert "2 of 2 runs done" in done.stderr.splitlines()[-1]
    # The lookback of the first run begins before the first trade.
    assert [run.state for run in loaded_site.runs("ohlcv_1d", "backfill")] == ["success"] * 2
    assert loaded_site.assert_exact("1d", BEGIN, BEGIN + 2 * DAY) == 16

    again = run_backfill_command(loaded_site, "-s", first, "-e", last, "ohlcv_1d")
    assert again.returncode == 0, again.stderr
    assert "2 of 2 runs done, 2 skipped (their interval has a run: --reprocess" in again.stderr.splitlines()[-1]


def test_a_backfill_of_a_year_creates_a_run_per_day(loaded_site: Site) -> None:
    plan = run_backfill_command(loaded_site, "-s", "2025-01-01", "-e", "2025-12-31", "--dry-run", "ohlcv_reprocess")
    assert "dry run: 365 runs would be created" in plan.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-s", "2026-01-02", "-e", "2026-01-01", DAG), "error: start 2026-01-02 is after end 2026-01-01"),
        (("-s", "soon", "-e", "2026-01-01", DAG), "error: 'soon' is not an ISO date or time"),
        (("-s", "2026-01-01", "-e", "2026-01-01", "ohlcv_7m"), "ohlcv_7m"),
        (("-s", "2999-01-01", "-e", "2999-01-02", DAG), "error: "),
    ],
)
def test_an_invalid_backfill_ends_with_one_line(loaded_site: Site, arguments: tuple[str, ...], message: str) -> None:
    result = run_backfill_command(loaded_site, *arguments)
    assert result.returncode in (1, 2)
    assert message in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
