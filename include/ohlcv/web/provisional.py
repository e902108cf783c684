"""Provisional candles: windows newer than the newest stored one, computed from raw trades."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa


@dataclass(frozen=True, eq=False)
class Provisional:
    """Candles of one series, computed from a trades snapshot. created_at and updated_at are null, vwap may be."""

    # None if there are no trades.
    trades_snapshot: int | None
    computed_at: datetime
    # Columns of the contract; sorted by window_start.
    table: pa.Table
