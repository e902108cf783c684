"""/api/v1/candles, series and timeframes: documents, pages, entity tags, formats."""

from __future__ import annotations

import csv
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from ohlcv.model.errors import OhlcvError
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES
from support.candle_rows import HOUR, at, candle
from support.memory_candles import SCHEMA, MemoryCandles

CANDLES = "/api/v1/candles"
SNAPSHOT = {"id": "9007199254740993", "committed_at": "2026-03-01T12:00:00Z"}
ONE_SERIES = {"symbol": "BTC", "exchange": "X"}
RANGE = {"start": "2026-03-01T00:00:00Z", "end": "2026-03-01T04:00:00Z"}


def get(client: TestClient, **parameters: Any) -> Any:
    response = client.get(CANDLES, params={"timeframe": "1h", **parameters})
    assert response.status_code == 200, response.text
    return response.json()


def starts(document: dict[str, Any]) -> list[str]:
    return [f"{row['window_start'][11:13]}{row['exchange']}" for row in document["candles"]]


def test_a_document_names_its_snapshot_and_has_exact_values(client: TestClient) -> None:
    document = get(client, **ONE_SERIES, limit=1)
    row = document.pop("candles")[0]
    assert isinstance(document.pop("next_cursor"), str)
    assert document == {"timeframe": "1h", "snapshot": SNAPSHOT, "stale_seconds": None, "provisional": None}
    assert row == {
        "symbol": "BTC",
        "exchange": "X",
        "window_start": "2026-03-01T00:00:00Z",
        "window_end": "2026-03-01T01:00:00Z",
        "window_date": "2026-03-01",
        "open_price": "2.00000000",
        "high_price": "3.00000000",
        "low_price": "0.50000000",
        "close_price": "1.00000000",
        "volume": "7.50000000",
        "trade_count": 3,
        "vwap": "1.25000000",
        "created_at": "2026-03-01T12:00:00.123456Z",
        "updated_at": "2026-03-01T12:01:00.123456Z",
    }


def test_pages_contain_every_candle_once(client: TestClient) -> None:
    document = get(client, limit=5)
    found = starts(document)
    while document["next_cursor"]:
        document = get(client, limit=5, cursor=document["next_cursor"])
        found += starts(document)
    assert found == [f"0{hour}{exchange}" for hour in range(6) for exchange in "XY"]


def test_a_page_after_a_new_snapshot_names_the_new_one(client: TestClient, candles: MemoryCandles) -> None:
    cursor = get(client, limit=5)["next_cursor"]
    candles.snapshot_id = 8
    assert get(client, limit=5, cursor=cursor)["snapshot"]["id"] == "8"


def test_the_parameters_select(client: TestClient) -> None:
    assert starts(get(client, **ONE_SERIES, **RANGE)) == ["00X", "01X", "02X", "03X"]
    assert starts(get(client, **ONE_SERIES, newest=2, end="2026-03-01T04:00:00Z")) == ["02X", "03X"]
    assert starts(get(client, exchange="Y", start="2026-03-01T06:00:00+01:00")) == ["05Y"]
    assert len(get(client, updated_since="2026-03-01T12:01:00.123456Z")["candles"]) == 12
    assert get(client, updated_since="2026-03-01T12:01:00.123457Z")["candles"] == []
    filled = get(client, **ONE_SERIES, **RANGE, fill="previous")["candles"][0]
    assert (filled["filled"], filled["fill_reason"]) == (False, None)
    assert get(client, end="2026-03-01")["candles"] == []


@pytest.mark.parametrize(
    ("parameters", "detail"),
    [
        ({}, "parameter 'timeframe' is missing: add it"),
        (
            {"timeframe": "3h"},
            "parameter 'timeframe': unknown timeframe '3h': choose one of 1m, 5m, 15m, 30m, 1h, 2h, 4h, 1d",
        ),
        ({"timeframe": "2h"}, "timeframe '2h' is not enabled: add it to OHLCV_TIMEFRAMES"),
        ({"limit": "5001"}, "parameter 'limit' is too large: give at most 5,000"),
        ({**ONE_SERIES, "newest": "0"}, "parameter 'newest' is too small: give at least 1"),
        ({"symbol": ""}, "parameter 'symbol' is empty: give a value, or leave it out"),
        ({"exchange": "x" * 501}, "parameter 'exchange' is too long: give at most 500 characters"),
        ({"format": "xml"}, "parameter 'format' has an unknown value: give 'json', 'csv', 'parquet' or 'arrow'"),
        ({"limit": "1_0"}, "parameter 'limit': '1_0' is not a whole number: give digits 0 to 9"),
        ({"symbols": "BTC"}, "unknown parameter 'symbols': see /openapi.json for the parameters"),
        ({"newest": "3"}, "newest needs symbol and exchange: add them"),
        ({**ONE_SERIES, "newest": "3", "limit": "3"}, "newest cannot be combined with limit: remove one of them"),
        ({**RANGE, "fill": "previous"}, "fill needs symbol, exchange, start and end: add them"),
        (
            {**ONE_SERIES, "fill": "previous", "start": "2020-01-01", "end": "2026-01-01"},
            "fill is limited to 5,000 windows: give a later start or an earlier end",
        ),
        (
            {"start": RANGE["end"], "end": RANGE["start"]},
            "start must be before end: exchange them, or give a later end",
        ),
        ({"provisional": "true"}, "provisional needs symbol and exchange: add them"),
        (
            {**ONE_SERIES, "provisional": "true", "format": "csv"},
            "provisional candles have only the format json: remove provisional or format",
        ),
        (
            {"format": "csv", "limit": "5"},
            "only the format json has pages: do not combine another format with limit: remove one of them",
        ),
        ({"cursor": "x"}, "the cursor is not valid: use next_cursor of a page, or leave the cursor out"),
    ],
    ids=lambda value: "&".join(value) if isinstance(value, dict) else "",
)
def test_an_invalid_request_is_a_problem(client: TestClient, parameters: dict[str, str], detail: str) -> None:
    response = client.get(CANDLES, params={"timeframe": "1h", **parameters} if parameters else {})
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json() == {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": detail}


def test_a_repeated_parameter_is_refused(client: TestClient) -> None:
    response = client.get(f"{CANDLES}?timeframe=1h&symbol=A&symbol=B")
    assert (response.status_code, response.json()["detail"]) == (
        400,
        "parameter 'symbol' is given 2 times: give it once",
    )


def test_a_cursor_belongs_to_its_request(client: TestClient) -> None:
    cursor = get(client, limit=5)["next_cursor"]
    assert starts(get(client, limit=2, cursor=cursor)) == ["02Y", "03X"]
    response = client.get(CANDLES, params={"timeframe": "1h", "symbol": "BTC", "cursor": cursor})
    assert response.status_code == 400
    assert response.json()["detail"].startswith("the cursor belongs to another request")


def test_an_unchanged_snapshot_is_answered_without_a_read(client: TestClient, candles: MemoryCandles) -> None:
    parameters = {"timeframe": "1h", **ONE_SERIES}
    first = client.get(CANDLES, params=parameters)
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert first.headers["X-Ohlcv-Snapshot"] == SNAPSHOT["id"]
    assert "Authorization" in first.headers["Vary"]
    candles.failure = ValueError("no file may be read")
    for header in (first.headers["ETag"], f'W/{first.headers["ETag"]}, "x"', "*"):
        again = client.get(CANDLES, params=parameters, headers={"If-None-Match": header})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
    # The same request without the header is answered from the cache.
    assert client.get(CANDLES, params=parameters).content == first.content

    other = client.get(CANDLES, params={**parameters, "format": "csv"}, headers={"If-None-Match": '"x"'})
    assert other.status_code == 500
    candles.failure = None
    candles.snapshot_id += 1
    changed = client.get(CANDLES, params=parameters, headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != first.headers["ETag"]


def test_equal_times_have_one_entity_tag(client: TestClient) -> None:
    tags = {
        client.get(CANDLES, params={"timeframe": "1h", "start": start}).headers["ETag"]
        for start in ("2026-03-01", "2026-03-01T00:00", "2026-03-01T00:00Z", "2026-03-01T01:00:00+01:00")
    }
    assert len(tags) == 1


def test_provisional_and_stale_answers_have_no_entity_tag(client: TestClient, candles: MemoryCandles) -> None:
    candles.provisional_rows = [
        {**candle(HOUR, "2026-03-01T06:00"), "vwap": None, "created_at": None, "updated_at": None}
    ]
    parameters = {"timeframe": "1h", **ONE_SERIES, "newest": 1}
    response = client.get(CANDLES, params={**parameters, "provisional": "true"})
    assert "ETag" not in response.headers
    provisional = response.json()["provisional"]
    assert (provisional["trades_snapshot"], provisional["computed_at"]) == ("7", "2026-03-01T12:00:00Z")
    assert [(row["window_start"], row["vwap"]) for row in provisional["candles"]] == [("2026-03-01T06:00:00Z", None)]
    candles.stale = 31.26
    response = client.get(CANDLES, params=parameters, headers={"If-None-Match": "*"})
    assert (response.status_code, response.json()["stale_seconds"]) == (200, 31.3)
    assert "ETag" not in response.headers


@pytest.mark.parametrize("format", ["csv", "parquet", "arrow"])
def test_bulk_formats_contain_all_candles(client: TestClient, candles: MemoryCandles, format: str) -> None:
    response = client.get(CANDLES, params={"timeframe": "1h", "format": format})
    assert response.headers["X-Ohlcv-Snapshot"] == SNAPSHOT["id"]
    assert response.headers["X-Ohlcv-Committed-At"] == SNAPSHOT["committed_at"]
    assert "Content-Length" not in response.headers
    expected = pa.Table.from_pylist(candles.rows["1h"], schema=SCHEMA)
    if format == "csv":
        rows = list(csv.DictReader(io.StringIO(response.text)))
        assert rows == [{name: str(value) for name, value in row.items()} for row in get(client)["candles"]]
    elif format == "parquet":
        assert pq.read_table(io.BytesIO(response.content)).equals(expected)
    else:
        assert pa.ipc.open_stream(response.content).read_all().equals(expected)
    disposition = response.headers.get("Content-Disposition")
    assert disposition == (None if format == "arrow" else f'attachment; filename="candles-1h.{format}"')


def test_a_file_has_the_name_of_its_series(client: TestClient, candles: MemoryCandles) -> None:
    series = {"symbol": 'BTC/"USD', "exchange": "a\u00f1b"}
    candles.rows["1h"] = [{**candles.rows["1h"][0], **series}]
    response = client.get(CANDLES, params={"timeframe": "1h", "format": "csv", **series})
    assert response.headers["Content-Disposition"] == 'attachment; filename="a_b-BTC_USD-1h.csv"'


def test_a_series_that_does_not_exist_is_not_found(client: TestClient, candles: MemoryCandles) -> None:
    unknown = {"timeframe": "1h", "symbol": "ETH", "exchange": "X"}
    requests: list[tuple[str, dict[str, str]]] = [
        (CANDLES, unknown),
        (CANDLES, {**unknown, **RANGE, "fill": "previous"}),
        *((CANDLES, {**unknown, "format": format}) for format in ("csv", "parquet", "arrow")),
        ("/ccxt/ohlcv", unknown),
    ]
    for path, parameters in requests:
        response = client.get(path, params=parameters)
        assert (response.status_code, response.headers["Content-Type"]) == (404, "application/problem+json")
        assert response.json()["detail"] == "no series 'ETH' on 'X' in 1h: see /api/v1/series"
    # A series without a candle in the range exists. A new one may have provisional candles only.
    assert get(client, **ONE_SERIES, end="2026-03-01")["candles"] == []
    assert get(client, symbol="ETH", exchange="X", provisional="true")["candles"] == []
    assert get(client, symbol="ETH")["candles"] == []
    # The files may contain it.
    candles.complete = False
    for path, parameters in requests:
        assert client.get(path, params=parameters).status_code == 200


def test_a_large_answer_is_compressed_for_clients_that_accept_it(client: TestClient, candles: MemoryCandles) -> None:
    parameters = {"timeframe": "1h"}
    candles.rows["1h"] = [candle(HOUR, at("2026-03-01") + number * HOUR.length) for number in range(100)]
    plain = {}
    for header in ("", "identity", "gzip;q=0", "gzip;q=0.000, *", "x-gzip"):
        response = client.get(CANDLES, params=parameters, headers={"Accept-Encoding": header})
        assert "Content-Encoding" not in response.headers, header
        plain[response.headers["ETag"]] = response.content
    assert len(plain) == 1
    for header in ("gzip", "br;q=1, GZIP ; q=0.5", "gzip;q=1.0"):
        response = client.get(CANDLES, params=parameters, headers={"Accept-Encoding": header})
        assert response.headers["Content-Encoding"] == "gzip", header
        assert response.headers["Vary"] == "Accept-Encoding, Authorization"
        assert int(response.headers["Content-Length"]) < len(response.content) / 4
        [(tag, content)] = plain.items()
        assert response.content == content
        assert response.headers["ETag"] != tag
    assert candles.reads == 2
    headers = {"Accept-Encoding": "gzip", "If-None-Match": response.headers["ETag"]}
    unchanged = client.get(CANDLES, params=parameters, headers=headers)
    assert (unchanged.status_code, "Content-Encoding" in unchanged.headers) == (304, False)
    # Small answers are not worth it.
    assert "Content-Encoding" not in client.get(CANDLES, params={**parameters, "limit": 1}).headers


@pytest.mark.parametrize("format", ["csv", "parquet", "arrow"])
def test_a_bulk_answer_may_be_empty(client: TestClient, format: str) -> None:
    response = client.get(CANDLES, params={"timeframe": "1h", "format": format, "symbol": "none"})
    assert response.status_code == 200
    if format == "csv":
        assert response.text == ",".join(SCHEMA.names) + "\n"
    elif format == "parquet":
        assert pq.read_table(io.BytesIO(response.content)).num_rows == 0
    else:
        assert pa.ipc.open_stream(response.content).read_all().equals(SCHEMA.empty_table())


def test_a_bulk_answer_is_limited(client: TestClient, candles: MemoryCandles) -> None:
    candles.counted = 1_000_000
    assert client.get(CANDLES, params={"timeframe": "1m", "format": "csv"}).status_code == 200
    candles.counted = 1_000_001
    response = client.get(CANDLES, params={"timeframe": "1m", "format": "csv"})
    assert response.status_code == 400
    assert response.json()["detail"].startswith("the range may have more than 1,000,000 candles: narrow it")


def test_the_series_of_a_timeframe(client: TestClient, candles: MemoryCandles) -> None:
    response = client.get("/api/v1/series", params={"timeframe": "1h", "search": "y"})
    assert response.json() == {
        "timeframe": "1h",
        "snapshot": SNAPSHOT,
        "stale_seconds": None,
        "series": [
            {
                "symbol": "BTC",
                "exchange": "Y",
                "first_window": "2026-03-01T00:00:00Z",
                "newest_window": "2026-03-01T05:00:00Z",
            }
        ],
        "truncated": False,
    }
    again = client.get(response.url.raw_path.decode(), headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304
    candles.rows["1h"] = [candle(HOUR, "2026-03-01", symbol=f"S{number:04}") for number in range(1001)]
    document = client.get("/api/v1/series", params={"timeframe": "1h"}).json()
    assert (len(document["series"]), document["truncated"]) == (1000, True)


def test_the_timeframes_of_the_registry(client: TestClient) -> None:
    document = client.get("/api/v1/timeframes").json()
    assert [each["name"] for each in document["timeframes"]] == list(DEFAULT_TIMEFRAMES)
    assert document["timeframes"][3] == {
        "name": "1h",
        "seconds": 3600,
        "table": "gold_ohlcv_1h",
        "dag_id": "ohlcv_1h",
        "cron": "15 * * * *",
        "retention_days": None,
        "retention": "3 years",
        "time_target_seconds": 60,
        "measures": False,
        "snapshot": SNAPSHOT,
        "first_window": "2026-03-01T00:00:00Z",
        "newest_window": "2026-03-01T05:00:00Z",
    }
    assert document["timeframes"][0]["retention_days"] == 90
    assert document["timeframes"][1]["newest_window"] is None


def test_a_timeframe_names_whether_its_candles_have_measures(client: TestClient, candles: MemoryCandles) -> None:
    candles.extended = {"1h"}
    document = client.get("/api/v1/timeframes").json()
    assert [each["name"] for each in document["timeframes"] if each["measures"]] == ["1h"]


def test_an_unreadable_catalog_is_a_problem_without_its_address(client: TestClient, candles: MemoryCandles) -> None:
    candles.failure = OhlcvError("the catalog postgresql://host does not answer")
    for path in (f"{CANDLES}?timeframe=1h", f"{CANDLES}?timeframe=1h&format=csv", "/api/v1/timeframes"):
        response = client.get(path)
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "5"
        assert "postgresql" not in response.text


def test_an_unexpected_error_is_a_problem_without_details(
    client: TestClient, candles: MemoryCandles, caplog: pytest.LogCaptureFixture
) -> None:
    candles.failure = ValueError("secret\ndetail")
    response = client.get(CANDLES, params={"timeframe": "1h"})
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "unexpected ValueError in request: secret\\ndetail (" in caplog.records[-1].getMessage()


def test_an_error_after_the_begin_of_a_bulk_answer_breaks_it_off(
    client: TestClient, candles: MemoryCandles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        yield pa.RecordBatch.from_pylist([candle(HOUR, "2026-03-01")], schema=SCHEMA)
        raise ValueError("damaged file")

    monkeypatch.setattr(candles, "batches", broken)
    with pytest.raises(ValueError, match="damaged file"):
        client.get(CANDLES, params={"timeframe": "1h", "format": "csv"})
