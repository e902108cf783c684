"""Recording: append the publications of a candle table since the checkpoint to the ledger, with what they changed."""

from __future__ import annotations

from collections.abc import Callable

from pyiceberg.catalog import Catalog

from ohlcv.config.settings import Settings
from ohlcv.ledger.reports import LedgerReport
from ohlcv.model.timeframes import Timeframe

# Shows the current step.
Progress = Callable[[str], None]


def record(
    settings: Settings, timeframe: Timeframe, catalog: Catalog | None = None, report_progress: Progress = lambda _: None
) -> LedgerReport:
    """Record what the ledger of a candle table lacks, and return what was recorded.

    Several calls can share an open catalog.
    """
    raise NotImplementedError
