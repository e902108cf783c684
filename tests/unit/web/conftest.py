"""A candle table that changes, and the data of the candle service over it."""

from __future__ import annotations

import pytest

from ohlcv.config.settings import Settings
from ohlcv.web.data import CandleData


@pytest.fixture
def data(settings: Settings) -> CandleData:
    """Return the data of empty tables. The test refreshes it."""
    return CandleData(settings)
