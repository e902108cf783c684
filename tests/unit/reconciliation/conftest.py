"""A comparison of stored candles with a published file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import pytest

from ohlcv.config.settings import Settings
from ohlcv.model.timeframes import Timeframe
from ohlcv.model.tolerances import Tolerances
from ohlcv.reconciliation.reconcile import Request, reconcile
from ohlcv.reconciliation.report import Reconciliation
from support.candle_rows import MINUTE, write_candles
from support.published_candles import FETCHED, LAYOUTS, NOW, Published, write_file


@pytest.fixture
def run(settings: Settings, tmp_path: Path) -> Callable[..., Reconciliation]:
    """Store candles as ours, publish others, and compare them."""

    def run(
        ours: Sequence[Published],
        theirs: Sequence[Published],
        layout: str = "generic",
        timeframe: Timeframe = MINUTE,
        *,
        exchange: str = "X",
        tolerances: Tolerances | None = None,
        fetched_at: datetime | None = FETCHED,
        now: datetime = NOW,
    ) -> Reconciliation:
        write_candles(settings, timeframe, *(each.row(timeframe, exchange=exchange) for each in ours))
        path = write_file(tmp_path, layout, theirs, timeframe)
        request = Request(LAYOUTS[layout], exchange, "BTC", timeframe, tolerances or Tolerances(), fetched_at)
        return reconcile(settings, [path], request, now)

    return run
