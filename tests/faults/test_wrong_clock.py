"""Wrong clocks of writers: jobs stop in one line before they write, and the run after the correction is exact."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ohlcv.iceberg.tables import open_catalog
from ohlcv.integrity.restoration import find_restoration, restore
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range
from ohlcv.spark.spark_submit import JobResult, build_job
from ohlcv.spark.spark_submit import run as run_job
from support.commit_times import commits_at
from support.harness import Harness, at, trade
from support.processes import QUICK_JAVA
from support.reference_model import Trade

pytestmark = pytest.mark.faults
NOON = at("2026-03-01 12:00")
ONE = at("2026-03-01 13:00")


def some_trades(minute: int) -> list[Trade]:
    return [trade(NOON + timedelta(minutes=minute + n, seconds=n), f"{100 + n}") for n in range(3)]


def run(harness: Harness) -> None:
    harness.build("1m", NOON, ONE, rebuild_pending=True)


def set_clock(patch: pytest.MonkeyPatch, error: timedelta) -> None:
    """Let the clock of this machine be wrong, as Python reads it."""
    right = time.time
    patch.setattr(time, "time", lambda: right() + error.total_seconds())


def restore_table(harness: Harness, timeframe: str | None = None) -> None:
    """Set a table back as `ohlcv tables restore` does."""
    catalog = open_catalog(harness.settings)
    restore(harness.settings, catalog, find_restoration(harness.settings, catalog, harness._contract(timeframe)))


@pytest.mark.parametrize("first", [True, False], ids=["properties first", "properties last"])
def test_a_change_of_properties_out_of_order_stops_runs_in_the_same_line(harness: Harness, first: bool) -> None:
    harness.load(some_trades(0))
    run(harness)

    def set_property() -> None:
        with harness.table().transaction() as transaction:
            transaction.set_properties({"owner": "x"})

    commits: list[Callable[[], None]] = [set_property, lambda: harness.load(some_trades(10))]
    with commits_at(lambda: datetime.now(UTC) + timedelta(hours=2)):
        commits[not first]()
    commits[first]()
    with pytest.raises(OhlcvError, match=r"^market_data.gold_crypto_trades has commits whose times are not in order, "):
        run(harness)


def test_trades_committed_out_of_order_stop_runs_in_one_line_and_are_loaded_again_after_the_restoration(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.load(some_trades(0))
    run(harness)
    with monkeypatch.context() as patch:
        set_clock(patch, timedelta(hours=2))
        harness.load(some_trades(10))
    # A commit of a clock ahead alone is read as usual.
    run(harness)
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE)).candles
    # A foreign writer whose clock is right again.
    harness.load(some_trades(20))
    with pytest.raises(OhlcvError) as error:
        run(harness)
    assert str(error.value) == (
        "market_data.gold_crypto_trades has commits whose times are not in order, so Spark cannot read it: a writer's "
        "clock was wrong, correct it and run 'ohlcv tables restore market_data.gold_crypto_trades'"
    )
    restore_table(harness)
    lost, harness.trades = harness.trades[3:], harness.trades[:3]
    harness.load(lost)
    run(harness)
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE)).candles


def test_candles_committed_by_a_clock_ahead_stop_runs_in_one_line_until_they_are_restored(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.load(some_trades(0))
    run(harness)
    with monkeypatch.context() as patch:
        set_clock(patch, timedelta(hours=2))
        table = harness.table("1m")
        table.append(table.schema().as_arrow().empty_table())
    harness.load(some_trades(20))
    with pytest.raises(OhlcvError) as error:
        run(harness)
    assert str(error.value).startswith("market_data.gold_ohlcv_1m was changed at ")
    assert str(error.value).endswith("or undo its commit by 'ohlcv tables restore market_data.gold_ohlcv_1m'")
    restore_table(harness, "1m")
    run(harness)
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE)).candles


@pytest.fixture
def library() -> Path:
    """Return the library that changes the clock of a process, also of Java."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("libfaketime is missing: apt-get install faketime")
    return found[0]


def run_with_clock(harness: Harness, patch: pytest.MonkeyPatch, library: Path, error: str) -> JobResult:
    """Run a scheduled run as a process of its own whose Java and Python have a wrong clock."""
    patch.setenv("OHLCV_HOME", str(harness.settings.home))
    job = build_job(harness.settings, "1m", Range(NOON, ONE), rebuild_pending=True)
    return run_job(job, "local[1]", {"LD_PRELOAD": str(library), "FAKETIME": error, QUICK_JAVA[0]: QUICK_JAVA[1]})


def test_a_job_on_a_machine_whose_clock_is_behind_ends_in_one_line_and_writes_nothing(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, library: Path
) -> None:
    harness.load(some_trades(0))
    before = harness.table("1m").metadata_location
    result = run_with_clock(harness, monkeypatch, library, "-2h")
    assert result.exit_code == 1
    assert result.error.startswith("market_data.gold_ohlcv_1m was changed at ")
    assert ": correct the wrong clock; if it was the writer's, " in result.error
    assert harness.table("1m").metadata_location == before
    run(harness)
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE)).candles


def test_a_job_on_a_machine_whose_clock_is_ahead_stores_exact_candles_and_stops_later_runs_until_they_are_restored(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, library: Path
) -> None:
    harness.load(some_trades(0))
    result = run_with_clock(harness, monkeypatch, library, "+2h")
    assert result.exit_code == 0, result.error
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE)).candles
    created = {each.created_at for each in harness.stored("1m").values()}
    assert min(created) > datetime.now(UTC) + timedelta(hours=1)
    harness.load(some_trades(10))
    with pytest.raises(OhlcvError, match=r"^market_data\.gold_ohlcv_1m was changed at "):
        run(harness)
    restore_table(harness, "1m")
    run(harness)
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE)).candles
