"""The route of the coverage: pages of series with one value per hour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from requests import ConnectionError as RequestsConnectionError
from starlette.testclient import TestClient

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import create_tables, open_catalog
from ohlcv.readers import coverage, fill_reasons
from ohlcv.web.data import CandleData
from ohlcv.web.service import Service
from support.candle_rows import HOUR, candle, write_candles
from support.candle_service import client_of, gateway_headers, service_of
from support.coverage_rows import hour_row, note, rejected_row, write_coverage, write_notes
from support.memory_candles import MemoryCandles

RANGE = {"start": "2026-03-01T00:00Z", "end": "2026-03-01T04:00Z"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """Return the service of a coverage of three series."""
    service = service_of(MemoryCandles(), tmp_path_factory.mktemp("coverage"))
    create_tables(service.settings)
    rows = [
        hour_row(0, [1, 2]),
        hour_row(1, [3, 4], duplicates=2, rejected_bad_price=3),
        hour_row(2, [6]),
        hour_row(1, [1], symbol="ETH"),
        rejected_row(2, 4, symbol=""),
        hour_row(3, exchange="Y"),
    ]
    write_coverage(service.settings, rows, 5, pending=[3])
    write_notes(service.settings, note("halt", 2, 3, symbol="ETH"), note("outage", 90))
    return service


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with client_of(service) as client:
        yield client


def get(client: TestClient, **parameters: Any) -> Any:
    response = client.get("/api/v1/coverage", params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


def problem(client: TestClient, status: int = 400, **parameters: Any) -> str:
    response = client.get("/api/v1/coverage", params=parameters)
    assert response.status_code == status, response.text
    detail: str = response.json()["detail"]
    return detail


def names(document: dict[str, Any]) -> list[str]:
    return [f"{each['exchange']} {each['symbol']}" for each in document["series"]]


def test_a_series_has_a_value_per_hour(client: TestClient) -> None:
    document = get(client, **RANGE, exchange="X", symbol="BTC")
    assert document == {
        "start": "2026-03-01T00:00:00Z",
        "end": "2026-03-01T04:00:00Z",
        "counted_until": "2026-03-01T05:00:00Z",
        "trades_snapshot": "7",
        "pending_hours": 1,
        "hours": [f"2026-03-01T0{hour}:00:00Z" for hour in range(4)],
        "series": [
            {
                "exchange": "X",
                "symbol": "BTC",
                "states": ["unknown", "sequence gaps", "sequence gaps", None],
                "trades": [2, 2, 1, None],
                "missing": [None, 0, 1, None],
                "rejected": [0, 3, 0, None],
                "duplicates": [0, 2, 0, None],
                "details": [
                    "no earlier source sequences within 7 days",
                    "numbers missing: 1 after the hour",
                    "numbers missing: 1 before the hour",
                    None,
                ],
                "notes": [None, None, None, None],
            }
        ],
        "notes": [],
        "next_cursor": None,
    }


def test_an_hour_without_trades_has_none_and_shows_its_notes(client: TestClient) -> None:
    document = get(client, **RANGE, search="eTh")
    (series,) = document["series"]
    assert series["states"] == [None, "unknown", "silent", None]
    assert series["trades"] == [None, 1, 0, None]
    assert series["notes"] == [None, None, ["halt-2"], None]
    assert document["notes"] == [
        {
            "note": "halt-2",
            "kind": "halt",
            "exchange": "X",
            "symbol": "ETH",
            "start_time": "2026-03-01T02:00:00Z",
            "end_time": "2026-03-01T03:00:00Z",
            "author": "Ann",
            "reason": "announced",
            "recorded_at": "2026-03-01T00:00:00Z",
        }
    ]


def test_series_are_selected(client: TestClient) -> None:
    assert names(get(client)) == ["X ", "X BTC", "X ETH", "Y BTC"]
    assert names(get(client, exchange="Y")) == ["Y BTC"]
    assert names(get(client, symbol="BTC")) == ["X BTC", "Y BTC"]
    assert names(get(client, search="y")) == ["Y BTC"]
    assert names(get(client, exchange="Z")) == []


def test_pages_have_each_series_once_and_the_range_of_the_first(client: TestClient, service: Service) -> None:
    first = get(client, limit=2)
    assert names(first) == ["X ", "X BTC"]
    write_coverage(service.settings, [], 9)
    try:
        second = get(client, limit=2, cursor=first["next_cursor"])
        assert names(second) == ["X ETH", "Y BTC"]
        assert second["next_cursor"] is None
        assert (second["start"], second["end"]) == (first["start"], first["end"])
        assert get(client)["end"] == "2026-03-01T09:00:00Z"
    finally:
        write_coverage(service.settings, [], 5, pending=[3])


def test_a_long_range_has_smaller_pages(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ohlcv.web.coverage.MAX_HOURS", 2 * len(get(client)["hours"]))
    answer = get(client)
    assert len(answer["series"]) == 2
    assert answer["next_cursor"] is not None


def test_an_unchanged_answer_is_not_sent_again(client: TestClient) -> None:
    tag = client.get("/api/v1/coverage", params=RANGE).headers["ETag"]
    assert client.get("/api/v1/coverage", params=RANGE, headers={"If-None-Match": tag}).status_code == 304


def test_who_may_read_any_timeframe_may_read_the_coverage(service: Service) -> None:
    other = Service(service.settings, service.data)
    with client_of(other, **gateway_headers("1m")) as client:
        assert get(client, **RANGE)["series"]


@pytest.mark.parametrize(
    ("parameters", "detail"),
    [
        ({"start": "2026-03-02", "end": "2026-03-01"}, "start must be before end"),
        ({"start": "2026-03-01", "end": "2026-04-02"}, "longer than 31 days"),
        ({"start": "0001-01-01"}, "outside the years"),
        ({"end": "9999-12-31T23:59:59Z"}, "outside the years"),
        ({"limit": "1001"}, "at most 1,000"),
        ({"cursor": "W10"}, "the cursor is not valid"),
        ({"exchange": "a\tb"}, "control character"),
        ({"timeframe": "1h"}, "unknown parameter"),
    ],
)
def test_invalid_requests_are_refused(client: TestClient, parameters: dict[str, str], detail: str) -> None:
    assert detail in problem(client, 400, **parameters)


def test_a_cursor_belongs_to_its_request(client: TestClient) -> None:
    cursor = get(client, limit=1)["next_cursor"]
    assert "another request" in problem(client, cursor=cursor, exchange="X")


def test_nothing_recorded_and_no_table_are_told(settings: Settings) -> None:
    service = service_of(MemoryCandles(), settings.home.parent)
    with client_of(service) as empty:
        assert problem(empty, 503) == "no coverage is recorded yet: run 'ohlcv coverage record'"
        document = get(empty, **RANGE)
        assert (document["counted_until"], document["series"]) == (None, [])
        open_catalog(service.settings).drop_table(service.settings.coverage_contract.identifier)
        assert "run 'ohlcv tables create'" in problem(empty, 503)


def fail(*_: Any) -> None:
    raise RequestsConnectionError("no route")


def test_a_catalog_that_fails_makes_the_coverage_unavailable(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage, "load_table", fail)
    assert "cannot be read at the moment" in problem(client, 503)


def test_a_catalog_that_fails_makes_reasons_of_filled_candles_unavailable(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_candles(settings, HOUR, candle(HOUR, "2026-03-01T00:00"), candle(HOUR, "2026-03-01T02:00"))
    service = service_of(MemoryCandles(), settings.home.parent)
    parameters = {"timeframe": "1h", "symbol": "BTC", "exchange": "X", **RANGE, "fill": "previous"}
    with client_of(Service(service.settings, CandleData(service.settings))) as client:
        assert len(client.get("/api/v1/candles", params=parameters).json()["candles"]) == 3
        monkeypatch.setattr(fill_reasons, "load_table", fail)
        assert client.get("/api/v1/candles", params=parameters).status_code == 503
