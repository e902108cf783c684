"""Every reader of trades in Python, as one check of a trades table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ohlcv.config.settings import Settings
from ohlcv.coverage.recording import record_coverage
from ohlcv.ledger.recording import record
from ohlcv.model.intervals import Range
from ohlcv.quality.validator import validate
from ohlcv.readers.latest import newest_trade
from ohlcv.readers.table_progress import read_progress


def readers_of_trades(settings: Settings, span: Range) -> dict[str, Callable[[], object]]:
    """Return each reader of trades by name. `span` is the range to validate; its end is the present."""
    timeframe = settings.timeframe("1m")
    return {
        "validation": lambda: validate(settings, timeframe, span).findings,
        "newest trade": lambda: newest_trade(settings),
        "coverage": lambda: record_coverage(settings, span.end).hours,
        "ledger": lambda: record(settings, timeframe).publications,
        "progress": lambda: read_progress(settings, ["1m"], span.end),
    }


def check_readers(settings: Settings, span: Range) -> datetime | None:
    """Check that every reader succeeds and that the validation finds nothing; return the time of the newest trade."""
    results = {name: read() for name, read in readers_of_trades(settings, span).items()}
    assert results["validation"] == []
    newest = results["newest trade"]
    assert newest is None or isinstance(newest, datetime)
    return newest
