"""Measures in the answers of the candle service: read only on request, in every format."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from ohlcv.config.settings import Settings
from ohlcv.model.errors import InputError
from ohlcv.model.table_contracts import MEASURES
from ohlcv.web import file_decoder
from ohlcv.web.candle_query import CandleQuery
from ohlcv.web.data import CandleData
from support.candle_rows import (
    COLUMNS,
    HOUR,
    Row,
    at,
    candle,
    extend_table,
    filled_candle,
    measured,
    unmeasured,
    write_candles,
)
from support.candle_service import client_of, service_of
from support.memory_candles import EXTENDED_SCHEMA, MemoryCandles

CANDLES = "/api/v1/candles"
SERIES = {"timeframe": "1h", "symbol": "BTC", "exchange": "X"}
RANGE = {"start": "2026-03-01T10:00:00Z", "end": "2026-03-01T14:00:00Z"}
REFUSED = "gold_ohlcv_1h has no measures: run 'ohlcv tables extend --timeframe 1h'"
OLD = candle(HOUR, "2026-03-01T10:00", "3")
NEW = [measured(candle(HOUR, "2026-03-01T12:00", "4")), measured(candle(HOUR, "2026-03-01T13:00", "5"), sides=False)]


class TestData:
    @pytest.fixture
    def rows(self, settings: Settings, data: CandleData) -> list[Row]:
        """Write a candle, extend the table, and write candles with measures."""
        write_candles(settings, HOUR, OLD)
        extend_table(settings, HOUR)
        write_candles(settings, HOUR, *NEW)
        data.refresh()
        return [unmeasured(OLD), *NEW]

    def test_only_a_request_for_measures_decodes_them(
        self, data: CandleData, rows: list[Row], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        decoded: list[list[str]] = []
        original = file_decoder.read_batches

        def read_batches(*arguments: Any) -> Iterator[pa.Table]:
            decoded.append(list(arguments[2]))
            return original(*arguments)

        monkeypatch.setattr(file_decoder, "read_batches", read_batches)
        for query in (CandleQuery(), CandleQuery("BTC", "X"), CandleQuery("BTC", "X", newest=1)):
            assert data.candles("1h", query).table.column_names == COLUMNS
        assert len(decoded) == 2
        assert not any(set(MEASURES) & set(columns) for columns in decoded)
        # The cache has no measures of these files yet.
        found = data.candles("1h", CandleQuery(measures=True)).table
        assert (found.column_names, found.to_pylist()) == ([*COLUMNS, *MEASURES], rows)
        assert len(decoded) == 4

    def test_a_file_from_before_the_extension_is_read_in_batches(
        self, settings: Settings, data: CandleData, rows: list[Row], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A scan by pyiceberg would hold a whole file of any size in memory."""
        monkeypatch.setattr(file_decoder, "_scan", lambda *_: pytest.fail("the whole file is read"))
        assert data.candles("1h", CandleQuery("BTC", "X", measures=True)).table.to_pylist() == rows

    def test_the_newest_candles_and_the_first_after_a_gap(self, data: CandleData, rows: list[Row]) -> None:
        assert data.candles("1h", CandleQuery("BTC", "X", newest=2, measures=True)).table.to_pylist() == rows[1:]
        filled = CandleQuery("BTC", "X", at("2026-03-01T11:00"), at("2026-03-01T13:00"), fill="previous", measures=True)
        gap = unmeasured(filled_candle(HOUR, "2026-03-01T11:00", "3"))
        del gap["fill_reason"]  # the route adds it
        assert data.candles("1h", filled).table.to_pylist() == [gap, {**rows[1], "filled": False}]

    def test_a_table_is_refused_until_it_is_extended(self, settings: Settings, data: CandleData) -> None:
        write_candles(settings, HOUR, OLD)
        data.refresh()
        query = CandleQuery(measures=True)
        with pytest.raises(InputError, match=f"^{REFUSED}$"):
            data.candles("1h", query)
        with pytest.raises(InputError, match=f"^{REFUSED}$"):
            data.batches("1h", query)
        extend_table(settings, HOUR)
        data.refresh()
        assert data.candles("1h", query).table.to_pylist() == [unmeasured(OLD)]


@pytest.fixture
def candles() -> MemoryCandles:
    candles = MemoryCandles(**{"1h": [unmeasured(OLD), *NEW], "1m": []})
    candles.extended = {"1h"}
    return candles


@pytest.fixture
def client(candles: MemoryCandles, tmp_path: Path) -> Iterator[TestClient]:
    with client_of(service_of(candles, tmp_path)) as client:
        yield client


def test_a_document_has_exact_measures(client: TestClient) -> None:
    found = client.get(CANDLES, params={**SERIES, "measures": "true"}).json()["candles"]
    assert [list(row) for row in found] == [[*COLUMNS, *MEASURES]] * 3
    assert [[row[name] for name in MEASURES] for row in found] == [
        [None] * 5,
        [
            *("30.0000000000000001", "4.50000000", "18.0000000000000000"),
            *("2026-03-01T12:00:00.000007Z", "2026-03-01T12:59:59.999999Z"),
        ],
        [
            *("37.5000000000000001", None, None),
            *("2026-03-01T13:00:00.000007Z", "2026-03-01T13:59:59.999999Z"),
        ],
    ]
    for parameters in (SERIES, {**SERIES, "measures": "false"}):
        assert list(client.get(CANDLES, params=parameters).json()["candles"][0]) == COLUMNS


def test_each_choice_has_its_own_entity_tag(client: TestClient) -> None:
    tags = [client.get(CANDLES, params={**SERIES, "measures": flag}).headers["ETag"] for flag in ("true", "false")]
    assert len(set(tags)) == 2


@pytest.mark.parametrize("format", ["csv", "parquet", "arrow"])
@pytest.mark.parametrize("symbol", ["BTC", "NONE"])
def test_bulk_formats_have_measures(client: TestClient, candles: MemoryCandles, format: str, symbol: str) -> None:
    candles.complete = False
    content = client.get(CANDLES, params={**SERIES, "symbol": symbol, "measures": "true", "format": format}).content
    rows = [unmeasured(OLD), *NEW] if symbol == "BTC" else []
    if format == "csv":
        header, *lines = csv.reader(io.StringIO(content.decode()))
        assert header == [*COLUMNS, *MEASURES]
        assert [line[-5] for line in lines] == (["", "30.0000000000000001", "37.5000000000000001"] if rows else [])
        return
    stored = pq.read_table(io.BytesIO(content)) if format == "parquet" else pa.ipc.open_stream(content).read_all()
    assert stored.schema.equals(EXTENDED_SCHEMA)
    assert stored.to_pylist() == rows


def test_provisional_and_filled_answers_have_the_same_columns(client: TestClient, candles: MemoryCandles) -> None:
    candles.provisional_rows = [unmeasured(candle(HOUR, "2026-03-01T14:00"))]
    document = client.get(CANDLES, params={**SERIES, "measures": "true", "provisional": "true"}).json()
    assert [list(row) for row in document["provisional"]["candles"]] == [[*COLUMNS, *MEASURES]]
    filled = client.get(CANDLES, params={**SERIES, **RANGE, "measures": "true", "fill": "previous"}).json()["candles"]
    assert list(filled[0]) == [*COLUMNS, *MEASURES, "filled", "fill_reason"]


@pytest.mark.parametrize("format", ["json", "csv", "parquet", "arrow"])
def test_a_table_that_is_not_extended_is_refused(client: TestClient, format: str) -> None:
    response = client.get(CANDLES, params={"timeframe": "1m", "measures": "true", "format": format})
    detail = "gold_ohlcv_1m has no measures: run 'ohlcv tables extend --timeframe 1m'"
    assert (response.status_code, response.json()["detail"]) == (400, detail)


def test_a_cursor_is_of_a_request_with_measures(client: TestClient) -> None:
    cursor = client.get(CANDLES, params={**SERIES, "measures": "true", "limit": 1}).json()["next_cursor"]
    page = client.get(CANDLES, params={**SERIES, "measures": "true", "limit": 1, "cursor": cursor}).json()
    assert page["candles"][0]["quote_volume"] == "30.0000000000000001"
    assert client.get(CANDLES, params={**SERIES, "limit": 1, "cursor": cursor}).status_code == 400


def test_an_unknown_flag_is_refused(client: TestClient) -> None:
    response = client.get(CANDLES, params={**SERIES, "measures": "1"})
    assert (response.status_code, response.json()["detail"][:45]) == (
        400,
        "parameter 'measures' has an unknown value: gi",
    )
