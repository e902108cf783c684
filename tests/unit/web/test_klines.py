"""Candles in the shape of Binance's klines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from support.candle_rows import HOUR, MINUTE, at, candle, measured, unmeasured
from support.candle_service import client_of, service_of
from support.memory_candles import MemoryCandles

SERIES = {"symbol": "BTC", "exchange": "X"}
HOUR_MS = 3_600_000
FIRST = int(at("2026-03-01").timestamp()) * 1000


@pytest.fixture
def candles() -> MemoryCandles:
    hours = [candle(HOUR, at("2026-03-01") + number * HOUR.length, str(number + 2)) for number in range(6)]
    hours = [unmeasured(hours[0]), measured(hours[1], sides=False), *map(measured, hours[2:])]
    candles = MemoryCandles(**{"1h": hours, "1m": [candle(MINUTE, "2026-03-01")]})
    candles.extended = {"1h"}
    return candles


@pytest.fixture
def client(candles: MemoryCandles, tmp_path: Path) -> Iterator[TestClient]:
    with client_of(service_of(candles, tmp_path)) as client:
        yield client


def rows(client: TestClient, **parameters: Any) -> Any:
    response = client.get("/api/v1/klines", params={**SERIES, "interval": "1h", **parameters})
    assert response.status_code == 200, response.text
    return response.json()


def test_a_row_has_the_values_of_binance(client: TestClient) -> None:
    assert rows(client, startTime=FIRST + 2 * HOUR_MS, limit=1) == [
        [
            FIRST + 2 * HOUR_MS,
            *("5.00000000", "6.00000000", "3.50000000", "4.00000000", "7.50000000"),
            FIRST + 3 * HOUR_MS - 1,
            *("30.0000000000000001", 3, "4.50000000", "18.0000000000000000", "0"),
        ]
    ]


def test_unknown_measures_are_null_and_never_zero(client: TestClient) -> None:
    without_measures, without_sides = rows(client, endTime=FIRST + HOUR_MS)
    assert without_measures[7:] == [None, 3, None, None, "0"]
    assert without_sides[7:] == ["22.5000000000000001", 3, None, None, "0"]


def opens(found: list[list[Any]]) -> list[int]:
    return [(row[0] - FIRST) // HOUR_MS for row in found]


def test_both_times_are_inclusive(client: TestClient) -> None:
    assert opens(rows(client)) == [0, 1, 2, 3, 4, 5]
    assert opens(rows(client, limit=2)) == [4, 5]
    assert opens(rows(client, startTime=FIRST + 1, limit=2)) == [1, 2]
    assert opens(rows(client, endTime=FIRST + 3 * HOUR_MS, limit=2)) == [2, 3]
    assert opens(rows(client, endTime=FIRST + 3 * HOUR_MS - 1, limit=2)) == [1, 2]
    one = FIRST + 2 * HOUR_MS
    assert opens(rows(client, startTime=one, endTime=one)) == [2]
    assert rows(client, startTime=one + 1, endTime=one + 1) == []


def test_an_unchanged_answer_is_not_sent_again(client: TestClient) -> None:
    response = client.get("/api/v1/klines", params={**SERIES, "interval": "1h"})
    assert response.headers["X-Ohlcv-Snapshot"]
    assert client.get(response.url, headers={"If-None-Match": response.headers["ETag"]}).status_code == 304


@pytest.mark.parametrize(
    ("parameters", "status", "detail"),
    [
        ({"interval": "1m"}, 400, "gold_ohlcv_1m has no measures: run 'ohlcv tables extend --timeframe 1m'"),
        ({"interval": "1w"}, 400, "parameter 'interval': unknown timeframe '1w': choose one of "),
        ({"exchange": ""}, 400, "parameter 'exchange' is empty: give a value, or leave it out"),
        ({"limit": "5001"}, 400, "parameter 'limit' is too large: give at most 5,000"),
        ({"startTime": "2", "endTime": "1"}, 400, "startTime must not be after endTime: exchange them, or give a"),
        ({"symbol": "NONE"}, 404, "no series 'NONE' on 'X' in 1h: see /api/v1/series"),
    ],
    ids=str,
)
def test_an_invalid_request_is_a_problem(
    client: TestClient, parameters: dict[str, str], status: int, detail: str
) -> None:
    response = client.get("/api/v1/klines", params={**SERIES, "interval": "1h", **parameters})
    assert response.status_code == status
    assert response.json()["detail"].startswith(detail)
