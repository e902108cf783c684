"""Routes that read the ledger: candles of a past moment or vintage, revisions, and the history of a candle."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from ohlcv.iceberg.tables import create_tables
from support.candle_rows import HOUR, Row, at, candle
from support.candle_service import client_of, gateway_headers, service_of
from support.ledger import RecordedHistory
from support.memory_candles import MemoryCandles

NOON = at("2026-03-01T12:00")
ONE_SERIES = {"symbol": "BTC", "exchange": "X"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RecordedHistory, TestClient]]:
    """Serve a table with two recorded changes."""
    service = service_of(MemoryCandles(), tmp_path_factory.mktemp("past"))
    create_tables(service.settings)
    history = RecordedHistory(service.settings, HOUR, NOON)
    history.job([hour(10), hour(11), hour(12), hour(10, exchange="Y")])
    history.job([hour(10, "2")], causes=["trade added"], lateness=5, run_id="scheduled__2")
    history.job([hour(11, "3"), hour(13)], deleted=[hour(12)])
    history.record()
    with client_of(service) as client:
        yield history, client


@pytest.fixture
def history(served: tuple[RecordedHistory, TestClient]) -> RecordedHistory:
    return served[0]


@pytest.fixture
def client(served: tuple[RecordedHistory, TestClient]) -> TestClient:
    return served[1]


def hour(start: int, close: str = "1", exchange: str = "X") -> Row:
    return candle(HOUR, f"2026-03-01T{start}:00", close, exchange=exchange)


def get(client: TestClient, path: str, **parameters: Any) -> Any:
    response = client.get(f"/api/v1/{path}", params={"timeframe": "1h", **parameters})
    assert response.status_code == 200, response.text
    return response.json()


def closes(document: dict[str, Any]) -> list[str]:
    return [f"{row['window_start'][11:13]} {float(row['close_price']):g}" for row in document["candles"]]


class TestPastCandles:
    def test_a_document_names_the_snapshot_that_readers_saw(self, history: RecordedHistory, client: TestClient) -> None:
        state = history.states[1]
        document = get(client, "candles", **ONE_SERIES, as_of=state.seen_at.isoformat())
        assert closes(document) == ["10 2", "11 1", "12 1"]
        del document["candles"]
        assert document == {
            "timeframe": "1h",
            "snapshot": {"id": str(state.snapshot), "committed_at": "2026-03-01T12:02:00Z"},
            "stale_seconds": None,
            "next_cursor": None,
            "provisional": None,
            "past": {"available_from": None, "known_until": None},
        }

    def test_a_vintage_says_what_it_leaves_out(self, client: TestClient) -> None:
        document = get(client, "candles", **ONE_SERIES, vintage="first")
        assert closes(document) == ["13 1"]
        assert document["past"]["available_from"] == "2026-03-01T13:00:00Z"
        assert document["past"]["known_until"] is not None
        assert closes(get(client, "candles", **ONE_SERIES, vintage="first", start="2026-03-01")) == [
            "10 1", "11 1", "12 1", "13 1"
        ]  # fmt: skip
        assert closes(get(client, "candles", **ONE_SERIES, vintage="2h")) == ["10 2", "11 3", "13 1"]

    def test_pages_have_every_candle_once(self, history: RecordedHistory, client: TestClient) -> None:
        request = {**ONE_SERIES, "as_of": history.states[0].seen_at.isoformat(), "limit": 2}
        first = get(client, "candles", **request)
        second = get(client, "candles", **request, cursor=first["next_cursor"])
        assert closes(first) + closes(second) == ["10 1", "11 1", "12 1"]
        assert second["next_cursor"] is None

    def test_pages_have_every_candle_if_a_later_writer_had_a_late_clock(self, tmp_path: Path) -> None:
        service = service_of(MemoryCandles(), tmp_path)
        create_tables(service.settings)
        history = RecordedHistory(service.settings, HOUR, NOON)
        history.job([hour(10)])
        moment = history.job([hour(11)]).seen_at.isoformat()
        stamp = NOON - timedelta(minutes=10)
        history.commit([*history.rows, {**hour(12), "created_at": stamp, "updated_at": stamp}], written_at=stamp)
        history.job([hour(13)])
        history.record()
        with client_of(service) as client:
            assert closes(get(client, "candles", **ONE_SERIES, as_of=moment)) == ["10 1", "11 1"]
            assert closes(get(client, "candles", **ONE_SERIES, as_of=moment, newest=9)) == ["10 1", "11 1"]

    def test_the_newest_and_a_range(self, history: RecordedHistory, client: TestClient) -> None:
        moment = history.states[0].seen_at.isoformat()
        assert closes(get(client, "candles", **ONE_SERIES, as_of=moment, newest=2)) == ["11 1", "12 1"]
        span = {"start": "2026-03-01T11:00Z", "end": "2026-03-01T12:00Z"}
        assert closes(get(client, "candles", **ONE_SERIES, as_of=moment, **span)) == ["11 1"]

    @pytest.mark.parametrize("format", ["csv", "arrow"])
    def test_other_formats_have_the_same_candles(
        self, history: RecordedHistory, client: TestClient, format: str
    ) -> None:
        state = history.states[0]
        parameters = {"timeframe": "1h", **ONE_SERIES, "as_of": state.seen_at.isoformat(), "format": format}
        response = client.get("/api/v1/candles", params=parameters)
        assert response.headers["X-Ohlcv-Snapshot"] == str(state.snapshot)
        if format == "csv":
            rows = list(csv.DictReader(io.StringIO(response.text)))
            assert [row["close_price"] for row in rows] == ["1.00000000"] * 3
        else:
            assert pa.ipc.open_stream(response.content).read_all().to_pylist() == [
                row for row in state.rows if row["exchange"] == "X"
            ]

    def test_an_unchanged_answer_is_not_sent_again(self, history: RecordedHistory, client: TestClient) -> None:
        parameters = {"timeframe": "1h", **ONE_SERIES, "as_of": history.states[0].seen_at.isoformat()}
        etag = client.get("/api/v1/candles", params=parameters).headers["ETag"]
        again = client.get("/api/v1/candles", params=parameters, headers={"If-None-Match": etag})
        assert (again.status_code, again.content) == (304, b"")

    @pytest.mark.parametrize(
        ("parameters", "status", "detail"),
        [
            ({"as_of": "2026-03-01"}, 400, "as_of and vintage need symbol and exchange: add them"),
            ({**ONE_SERIES, "as_of": "2200-01-01"}, 400, "as-of 2200-01-01T00:00:00Z is in the future"),
            (
                {**ONE_SERIES, "as_of": "2026-03-01"},
                400,
                "1h candles as of 2026-03-01T00:00:00Z are not known: available",
            ),
            ({**ONE_SERIES, "as_of": "x"}, 400, "parameter 'as_of': 'x' is not an ISO time"),
            ({**ONE_SERIES, "vintage": "-5m"}, 400, "vintage '-5m' must be more than zero"),
            ({**ONE_SERIES, "vintage": "0s"}, 400, "vintage '0s' must be more than zero"),
            (
                {**ONE_SERIES, "vintage": "first", "as_of": "2026-03-02"},
                400,
                "as_of cannot be combined with vintage: remove one of them",
            ),
            (
                {**ONE_SERIES, "vintage": "1h", "fill": "previous", "start": "2026-03-01", "end": "2026-03-02"},
                400,
                "as_of and vintage cannot be combined with fill: remove one of them",
            ),
            ({**ONE_SERIES, "vintage": "1h", "start": "2026-03-01"}, 400, "this vintage of 1h candles from"),
            (
                {**ONE_SERIES, "vintage": "1h", "provisional": "true"},
                400,
                "as_of and vintage cannot be combined with provisional",
            ),
            (
                {**ONE_SERIES, "as_of": "2026-03-02", "measures": "true"},
                400,
                "as_of and vintage cannot be combined with measures: remove one of them",
            ),
            (
                {"symbol": "DOGE", "exchange": "X", "vintage": "2h"},
                404,
                "no 1h candle has symbol 'DOGE' and exchange 'X'",
            ),
        ],
        ids=lambda value: "&".join(value) if isinstance(value, dict) else "",
    )
    def test_an_invalid_request_is_a_problem(
        self, client: TestClient, parameters: dict[str, str], status: int, detail: str
    ) -> None:
        response = client.get("/api/v1/candles", params={"timeframe": "1h", **parameters})
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.status_code == status
        assert response.json()["detail"].startswith(detail)


class TestRevisions:
    def test_a_document_has_the_changes(self, history: RecordedHistory, client: TestClient) -> None:
        document = get(client, "revisions", symbol="BTC")
        assert (document["checkpoint"], document["next_cursor"]) == (3, None)
        assert [(row["publication"], row["change"], row["window_start"][11:13]) for row in document["revisions"]] == [
            (2, "updated", "10"),
            (3, "updated", "11"),
            (3, "deleted", "12"),
        ]
        row = document["revisions"][0]
        assert row["causes"] == ["trade added"]
        assert (row["lateness"], row["run_id"]) == (5, "scheduled__2")
        assert row["snapshot"] == str(history.states[1].snapshot)
        assert (row["before_close_price"], row["after_close_price"]) == ("1.00000000", "2.00000000")
        assert document["revisions"][2]["after_close_price"] is None

    def test_pages_have_each_revision_once(self, client: TestClient) -> None:
        found: list[int] = []
        page: dict[str, Any] = {"limit": 1, "insertions": "true"}
        for _ in range(9):
            document = get(client, "revisions", **page)
            found += [row["publication"] for row in document["revisions"]]
            if document["next_cursor"] is None:
                break
            page["cursor"] = document["next_cursor"]
        assert found == [2, 3, 3, 3]

    def test_filters_select(self, client: TestClient) -> None:
        assert len(get(client, "revisions", since=2)["revisions"]) == 2
        assert len(get(client, "revisions", cause="trade added")["revisions"]) == 1
        assert len(get(client, "revisions", start="2026-03-01T12:00Z")["revisions"]) == 1

    @pytest.mark.parametrize(
        ("parameters", "detail"),
        [
            ({"since": "-1"}, "parameter 'since' is too small: give at least 0"),
            ({"since": "9"}, "since 9 is after the newest recorded publication: give at most 3"),
            ({"cause": "weather"}, "parameter 'cause' has an unknown value: give 'trade added', 'trade corrected'"),
            ({"cursor": "x"}, "the cursor is not valid: use next_cursor of a page, or leave the cursor out"),
            ({"limit": "5001"}, "parameter 'limit' is too large: give at most 5,000"),
            ({"start": "2026-03-02", "end": "2026-03-01"}, "start must be before end"),
        ],
        ids=lambda value: "&".join(value) if isinstance(value, dict) else "",
    )
    def test_an_invalid_request_is_a_problem(self, client: TestClient, parameters: dict[str, str], detail: str) -> None:
        response = client.get("/api/v1/revisions", params={"timeframe": "1h", **parameters})
        assert response.status_code == 400
        assert response.json()["detail"].startswith(detail)

    def test_a_cursor_belongs_to_its_request(self, client: TestClient) -> None:
        cursor = get(client, "revisions", limit=1)["next_cursor"]
        response = client.get("/api/v1/revisions", params={"timeframe": "1h", "symbol": "BTC", "cursor": cursor})
        assert response.json()["detail"].startswith("the cursor belongs to another request")


class TestHistory:
    def test_a_document_has_the_versions(self, history: RecordedHistory, client: TestClient) -> None:
        document = get(client, "candles/history", **ONE_SERIES, time="2026-03-01T12:30Z")
        versions = document.pop("versions")
        assert document == {
            "timeframe": "1h",
            "symbol": "BTC",
            "exchange": "X",
            "window_start": "2026-03-01T12:00:00Z",
            "known_until": None,
        }
        assert [(row["publication"], row["change"], row["close_price"]) for row in versions] == [
            (1, None, "1.00000000"),
            (3, "deleted", None),
        ]

    def test_an_unknown_series_is_not_found(self, client: TestClient) -> None:
        parameters = {"timeframe": "1h", "symbol": "BTC", "exchange": "Z", "time": "2026-03-01"}
        assert client.get("/api/v1/candles/history", params=parameters).status_code == 404


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("candles", {**ONE_SERIES, "vintage": "first"}),
        ("revisions", {}),
        ("candles/history", {**ONE_SERIES, "time": "2026-03-01"}),
    ],
)
def test_a_timeframe_that_the_client_may_not_read_is_refused(
    client: TestClient, path: str, parameters: dict[str, str]
) -> None:
    response = client.get(
        f"/api/v1/{path}", params={"timeframe": "1h", **parameters}, headers=gateway_headers("1m", "5m")
    )
    assert response.status_code == 403
