"""Backfills on real services, by the REST interface and by `airflow dags backfill`."""

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

pytestmark = pytest.mark.services

TODAY = floor_time(datetime.now(UTC), DAY)
BEGIN = TODAY - 4 * DAY
# Three intervals of ohlcv_1h begin in here: 06:15, 07:15 and 08:15.
FROM, TO = BEGIN + DAY + 6 * HOUR, BEGIN + DAY + 9 * HOUR
DAG = "ohlcv_1h"


@pytest.fixture(scope="module")
def fed(site: Site) -> Site:
    site.feed(BEGIN, TODAY, 40_000)
    return site


def own_range(run: Run, name: str) -> Range:
    assert run.interval_end is not None
    return scheduled_range(TIMEFRAMES[name], datetime.fromisoformat(run.interval_end))


def backfill(site: Site, behavior: str) -> list[Run]:
    """Have the three intervals backfilled; give their runs when they have ended."""
    created = site.backfill(DAG, FROM, TO, behavior)
    path = f"/backfills/{created}"
    wait_for(lambda: site.airflow.call("GET", path)["completed_at"], f"backfill {created} ends", POLL_SECONDS)
    return site.runs(DAG, "backfill")


def starts(site: Site, runs: list[Run]) -> list[str]:
    return [site.task(run, "aggregate")["start_date"] for run in runs]


def test_each_reprocess_behavior_runs_what_it_says(fed: Site) -> None:
    fed.airflow.unpause(DAG)
    runs = backfill(fed, "none")
    assert [run.state for run in runs] == ["success"] * 3
    for run in runs:
        own = own_range(run, "1h")
        assert fed.range_of(run) == (iso(own.start), iso(own.end))
        assert fed.arguments(run)["--rebuild-pending"] == "no"
        fed.assert_exact("1h", own.start, own.end)
    first, snapshots = starts(fed, runs), fed.snapshots("1h")

    # None: what has a run keeps it.
    assert starts(fed, backfill(fed, "none")) == first

    # Failed: those runs alone.
    fed.airflow.call("PATCH", f"/dags/{DAG}/dagRuns/{runs[1].run_id}", {"state": "failed"})
    second = starts(fed, backfill(fed, "failed"))
    assert [before == after for before, after in zip(first, second, strict=True)] == [True, False, True]

    # Completed: all of them; one late trade is one commit, and its candle has changed in none but its window.
    assert fed.snapshots("1h") == snapshots
    fed.load([trade(FROM + 2 * HOUR + timedelta(minutes=5), "94000", "2", symbol="BTC-USD", exchange="binance")])
    before = fed.stored("1h")
    third = starts(fed, backfill(fed, "completed"))
    assert [earlier == later for earlier, later in zip(second, third, strict=True)] == [False] * 3
    assert len(fed.snapshots("1h")) == len(snapshots) + 1
    after = fed.stored("1h")
    assert [key[:2] for key in after if after[key] != before[key]] == [("BTC-USD", "binance")]
    fed.assert_exact("1h", own_range(runs[0], "1h").start, own_range(runs[-1], "1h").end)


def command(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("airflow"))
    return subprocess.run(
        [program, "dags", "backfill", *words], env=site.airflow.environment, capture_output=True, text=True, check=False
    )


def test_the_old_command_backfills_whole_days_and_waits(fed: Site) -> None:
    fed.airflow.unpause("ohlcv_1d")
    first, last = BEGIN.date().isoformat(), (BEGIN + DAY).date().isoformat()
    plan = command(fed, "-s", first, "-e", last, "--dry-run", "ohlcv_1d")
    intervals = [f"{iso(BEGIN + n * DAY + timedelta(minutes=5))[:-1]}+00:00" for n in range(3)]
    assert plan.stdout.splitlines() == [f"{intervals[0]} .. {intervals[1]}", f"{intervals[1]} .. {intervals[2]}"]
    assert "2 runs would be started; nothing was" in plan.stderr
    assert fed.runs("ohlcv_1d", "backfill") == []

    done = command(fed, "-s", first, "-e", last, "ohlcv_1d")
    assert done.returncode == 0, done.stderr
    assert "created:" in done.stderr
    assert "2 of 2 runs done" in done.stderr.splitlines()[-1]
    # The first run's lookback of two days begins before there were trades.
    assert [run.state for run in fed.runs("ohlcv_1d", "backfill")] == ["success"] * 2
    assert fed.assert_exact("1d", BEGIN, BEGIN + 2 * DAY) == 16


def test_a_year_of_history_is_a_run_per_day(fed: Site) -> None:
    plan = command(fed, "-s", "2025-01-01", "-e", "2025-12-31", "--dry-run", "ohlcv_reprocess")
    assert "365 runs would be started" in plan.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("-s", "2026-01-02", "-e", "2026-01-01", DAG), "error: start 2026-01-02 is after end 2026-01-01"),
        (("-s", "soon", "-e", "2026-01-01", DAG), "error: 'soon' is not an ISO date or time"),
        (("-s", "2026-01-01", "-e", "2026-01-01", "ohlcv_7m"), "ohlcv_7m"),
        (("-s", "2999-01-01", "-e", "2999-01-02", DAG), "error: "),
    ],
)
def test_a_backfill_that_cannot_be_meant_ends_in_one_line(fed: Site, words: tuple[str, ...], complaint: str) -> None:
    result = command(fed, *words)
    assert result.returncode in (1, 2)
    assert complaint in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
