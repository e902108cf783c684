"""A mapped trades table is never written: the sample and the feed refuse it before they generate trades."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ohlcv.iceberg.tables import open_catalog
from ohlcv.ingest import sample_data
from ohlcv.ingest.sample_feed import load_history
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import to_microseconds
from ohlcv.readers.trades import load_trades
from support.mapped_trades import SHAPES, append_rows, mapped_settings

REFUSED = r"has a mapping \(OHLCV_TRADES_MAPPING\), so it is only read"


def test_a_feed_is_refused_before_it_looks_for_the_newest_trade(tmp_path: Path) -> None:
    settings = mapped_settings(tmp_path, SHAPES["nanoseconds without ids"])
    ahead = to_microseconds(datetime.now(UTC) + timedelta(seconds=50)) * 1000
    row = {"ns": ahead, "quantity": 1.0, "price": 1, "exchange": "kraken", "seq": None}
    append_rows(load_trades(open_catalog(settings), settings.trades_contract).table, [row])
    with pytest.raises(InputError, match=REFUSED):
        load_history(settings, 8)


def test_a_sample_is_refused_before_it_is_generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = mapped_settings(tmp_path, SHAPES["nanoseconds without ids"])
    monkeypatch.delattr(sample_data, "sample_trades")
    with pytest.raises(InputError, match=REFUSED):
        sample_data.load_sample(settings, 8, 1)
