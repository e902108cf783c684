"""A day of candles that is built and then gets late trades, so that the next run changes some of them."""

from __future__ import annotations

from datetime import timedelta

from ohlcv.config.settings import Settings
from ohlcv.model.errors import OhlcvError
from spark_jobs.runtime.failures import describe_failure
from support.harness import Harness, at, trade

DAY, NEXT = at("2026-03-01 00:00"), at("2026-03-02 00:00")


def build_then_load_late_trades(harness: Harness, step: int = 61, late: int = 40) -> None:
    """Build a day with a trade of two series every `step` seconds, then load late trades into some windows."""
    harness.load(
        trade(DAY + timedelta(seconds=second), f"{100 + second % 13}", symbol=symbol)
        for symbol in ("BTC-USD", "ETH-USD")
        for second in range(0, 6 * 3600, step)
    )
    harness.build("1m", DAY, NEXT)
    harness.load(trade(DAY + timedelta(minutes=7 * n, seconds=3), "777", trade_id=f"late-{n}") for n in range(late))


def line_of(error: Exception, settings: Settings) -> str:
    """Return the one line with which a job reports an error."""
    line = str(error) if isinstance(error, OhlcvError) else describe_failure(error, settings)
    assert len(line.splitlines()) == 1
    return line


def assert_exact(harness: Harness) -> None:
    """Assert that a run has published the late trades in one commit, and has left no branch."""
    assert harness.candles("1m") == harness.expected("1m", (DAY, NEXT)).candles
    assert len(harness.snapshots("1m")) == 2
    assert list(harness.table("1m").metadata.refs) == ["main"]


def assert_rerun_is_exact(harness: Harness) -> None:
    """Run the build again after a fault, and assert that it is exact and leaves nothing to change."""
    # A rerun is a new process. In this one, a connection to a killed server could be used again.
    harness.connect()
    harness.build("1m", DAY, NEXT)
    assert_exact(harness)
    assert harness.build("1m", DAY, NEXT)["snapshot"] is None
