"""What maintenance needs of the ledger: a recording before snapshots expire, and the snapshots that it still needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pyiceberg.catalog import Catalog

from ohlcv.config.settings import Settings
from ohlcv.ledger.recording import record
from ohlcv.ledger.reports import LedgerReport
from ohlcv.ledger.status import ledger_status
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import EPOCH
from ohlcv.model.timeframes import Timeframe


@dataclass(frozen=True)
class Attempt:
    """A recording that must not stop its caller: its report, or the line of its error."""

    report: LedgerReport | None
    error: str | None


def try_record(settings: Settings, timeframe: Timeframe, catalog: Catalog | None = None) -> Attempt:
    """Record the ledger of a candle table. Return an error instead of raising it."""
    try:
        return Attempt(record(settings, timeframe, catalog), None)
    except OhlcvError as error:
        return Attempt(None, str(error))
    except Exception as error:
        lines = str(error).splitlines()
        return Attempt(None, f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__)


def keep_since(settings: Settings, timeframe: Timeframe) -> datetime | None:
    """Return the time from which the ledger needs the snapshots of a candle table, None without a ledger.

    It needs them all if it cannot be read. Maintenance limits their age.
    """
    try:
        return ledger_status(settings, timeframe).keep_since
    except Exception:
        return EPOCH
