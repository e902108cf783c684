"""A candle table that changes, the data of the candle service over it, and a service of candles in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from ohlcv.config.settings import Settings
from ohlcv.web.data import CandleData
from ohlcv.web.service import Service
from support.candle_rows import HOUR, MINUTE, at, candle
from support.candle_service import client_of, service_of
from support.memory_candles import MemoryCandles


@pytest.fixture
def data(settings: Settings) -> CandleData:
    """Return the data of empty tables. The test refreshes it."""
    return CandleData(settings)


@pytest.fixture
def candles() -> MemoryCandles:
    """Return candles of two series in memory, and no table of any other timeframe than 1m, 1h and 1d."""
    hours = [at("2026-03-01") + number * HOUR.length for number in range(6)]
    return MemoryCandles(
        **{
            "1m": [candle(MINUTE, "2026-03-01", "0.00000123")],
            "1h": [
                candle(HOUR, hour, str(number + 1), exchange=exchange)
                for number, hour in enumerate(hours)
                for exchange in ("X", "Y")
            ],
            "1d": [],
        }
    )


@pytest.fixture
def service(candles: MemoryCandles, tmp_path: Path) -> Service:
    return service_of(candles, tmp_path)


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with client_of(service) as client:
        yield client
