"""A mapped trades table is never written: the feed refuses it also while it has nothing to add."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ohlcv.iceberg.tables import open_catalog
from ohlcv.ingest.sample_feed import load_history
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import to_microseconds
from ohlcv.readers.trades import load_trades
from support.mapped_trades import SHAPES, append_rows, mapped_settings


def test_a_feed_is_refused_before_it_looks_for_the_newest_trade(tmp_path: Path) -> None:
    settings = mapped_settings(tmp_path, SHAPES["nanoseconds without ids"])
    ahead = to_microseconds(datetime.now(UTC) + timedelta(seconds=50)) * 1000
    row = {"ns": ahead, "quantity": 1.0, "price": 1, "exchange": "kraken", "seq": None}
    append_rows(load_trades(open_catalog(settings), settings.trades_contract).table, [row])
    with pytest.raises(InputError, match=r"has a mapping \(OHLCV_TRADES_MAPPING\), so it is only read"):
        load_history(settings, 8)
