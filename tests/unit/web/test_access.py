"""Access to the candle service: tokens, timeframes of the gateway's user, rate limit, CORS."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from ohlcv.model.errors import InputError
from ohlcv.web import routes_catalog, tokens
from ohlcv.web.access import RateLimit
from ohlcv.web.app import create_routes
from ohlcv.web.service import Service
from ohlcv.web.tokens import add_token, check_tokens, parse_tokens
from support.candle_service import BEARER, GATEWAY_TOKEN, TOKEN, client_of, gateway_headers, service_of
from support.memory_candles import MemoryCandles

# Requests for one timeframe, and the paths that list timeframes.
OF_A_TIMEFRAME = [
    "/api/v1/candles?timeframe=1h",
    "/api/v1/candles?timeframe=1h&format=csv",
    "/api/v1/series?timeframe=1h",
    "/api/v1/quality?timeframe=1h",
    "/udf/history?symbol=X:BTC&resolution=60&from=0&to=1",
    "/ccxt/ohlcv?exchange=X&symbol=BTC&timeframe=1h",
    "/api/v1/klines?exchange=X&symbol=BTC&interval=1h",
]
OF_EVERY_TIMEFRAME = ["/api/v1/timeframes", "/api/v1/status", "/api/v1/quality"]


@pytest.fixture(autouse=True)
def _check_the_file_at_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "CHECK_SECONDS", 0)


def paths(service: Service) -> list[str]:
    """Return the paths of all routes of the application."""
    found = [route.path for route in _routes(create_routes(service))]
    assert len(found) > 10
    return found


def _routes(app: Any) -> list[APIRoute]:
    return [route for route in app.routes if isinstance(route, APIRoute)]


def test_every_path_except_health_needs_a_token(service: Service) -> None:
    invalid = [None, "", "Bearer", "Bearer ", "Basic " + TOKEN, "Bearer x", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"]
    with TestClient(client_of(service).app) as client:
        addresses = [*paths(service), "/unknown", "/"]
        for header in [*invalid, TOKEN]:
            headers = {} if header is None else {"Authorization": header}
            for path in addresses:
                response = client.get(path, headers=headers)
                if path == "/health":
                    assert (response.status_code, response.text) == (200, "ok")
                    continue
                assert response.status_code == 401, (path, header)
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert response.headers["Content-Type"] == "application/problem+json"
                assert response.json()["title"] == "Unauthorized"


def test_a_changed_tokens_file_is_read_again(service: Service, client: TestClient, caplog: Any) -> None:
    file = service.settings.api.tokens_file
    assert file is not None
    assert client.get("/udf/time").status_code == 200
    file.write_text(f"other {'z' * 40}\nclient short\n")
    assert client.get("/udf/time").status_code == 401
    assert client.get("/udf/time", headers={"Authorization": "Bearer " + "z" * 40}).status_code == 200
    assert "line 2 has a token with fewer than 32 characters" in caplog.text
    assert "short" not in caplog.text
    file.unlink()
    assert client.get("/udf/time", headers={"Authorization": "Bearer " + "z" * 40}).status_code == 401
    file.write_text(f"client {TOKEN}\n")
    assert client.get("/udf/time").status_code == 200


def test_a_user_of_the_gateway_reads_only_timeframes_of_readable_dags(
    client: TestClient, candles: MemoryCandles
) -> None:
    candles.extended.add("1h")
    for path in OF_A_TIMEFRAME:
        refused = client.get(path, headers=gateway_headers("1m", "5m"))
        assert (refused.status_code, refused.json()["detail"]) == (
            403,
            "you may not read the timeframe 1h: ask for read access to the DAG ohlcv_1h",
        )
        assert client.get(path, headers=gateway_headers("1h")).status_code == 200, path


@pytest.mark.parametrize("path", OF_EVERY_TIMEFRAME)
def test_lists_contain_only_readable_timeframes(service: Service, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_status(_: object, __: object, names: tuple[str, ...]) -> dict[str, Any]:
        return {"timeframes": [{"name": name} for name in names]}

    # It needs the tables themselves.
    monkeypatch.setattr(routes_catalog, "read_status", read_status)
    with client_of(service) as client:
        for names in ([], ["1h"], ["1m", "1d"]):
            document = client.get(path, headers=gateway_headers(*names)).json()
            assert [each["name"] for each in document["timeframes"]] == names
        assert len(client.get(path).json()["timeframes"]) == 5


def test_udf_offers_only_readable_timeframes(service: Service) -> None:
    with client_of(service) as client:
        headers = gateway_headers("1h")
        assert client.get("/udf/config", headers=headers).json()["supported_resolutions"] == ["60"]
        assert client.get("/udf/search", headers=gateway_headers("1d")).json() == []
        document = client.get("/udf/symbols", params={"symbol": "X:BTC"}, headers=gateway_headers("1d")).json()
        assert document["s"] == "error"


def test_the_token_of_the_gateway_needs_the_timeframes(service: Service) -> None:
    with client_of(service) as client:
        headers = {"Authorization": f"Bearer {GATEWAY_TOKEN}"}
        assert client.get("/api/v1/timeframes", headers=headers).status_code == 400
        # The header has no effect with other tokens.
        response = client.get("/api/v1/timeframes", headers={**gateway_headers("1h"), **BEARER})
        assert len(response.json()["timeframes"]) == 5


def test_requests_of_a_token_are_limited(candles: MemoryCandles, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"client {TOKEN}\nother {'z' * 40}\n")
    with client_of(service_of(candles, tmp_path, OHLCV_API_RATE="1")) as client:
        statuses = [client.get("/udf/time") for _ in range(10)]
        refused = statuses[-1]
        assert [response.status_code for response in statuses[:2]] == [200, 200]
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert refused.json()["title"] == "Too Many Requests"
        assert client.get("/udf/time", headers={"Authorization": "Bearer " + "z" * 40}).status_code == 200
        assert {client.get("/udf/time", headers=gateway_headers()).status_code for _ in range(10)} == {200}


def test_a_token_has_bursts_of_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("ohlcv.web.access.time.monotonic", lambda: now)
    limit = RateLimit(5)
    assert [limit.wait_seconds(b"a") for _ in range(10)] == [0.0] * 10
    assert limit.wait_seconds(b"a") == pytest.approx(0.2)
    assert limit.wait_seconds(b"b") == 0
    now += 0.41
    assert [limit.wait_seconds(b"a") > 0 for _ in range(3)] == [False, False, True]


def test_only_allowed_origins_may_read(candles: MemoryCandles, tmp_path: Path) -> None:
    service = service_of(candles, tmp_path, OHLCV_API_ORIGINS="https://charts.example")
    preflight = {"Origin": "https://charts.example", "Access-Control-Request-Method": "GET"}
    preflight["Access-Control-Request-Headers"] = "authorization"
    with client_of(service) as client:
        for headers in ({}, BEARER):
            allowed = TestClient(client.app).options("/udf/time", headers={**preflight, **headers})
            assert (allowed.status_code, allowed.text) == (200, "OK")
            assert allowed.headers["Access-Control-Allow-Origin"] == "https://charts.example"
        refused = client.options("/udf/time", headers={**preflight, "Origin": "https://evil.example"})
        assert (refused.status_code, refused.headers["Content-Type"]) == (400, "application/problem+json")
        assert "Access-Control-Allow-Origin" not in refused.headers
        read = client.get("/api/v1/candles?timeframe=1h", headers={"Origin": "https://charts.example"})
        assert read.headers["Access-Control-Allow-Origin"] == "https://charts.example"
        assert "X-Ohlcv-Snapshot" in read.headers["Access-Control-Expose-Headers"]
        evil = client.get("/api/v1/candles?timeframe=1h", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in evil.headers
        anonymous = TestClient(client.app).get("/udf/time", headers={"Origin": "https://charts.example"})
        assert anonymous.status_code == 401
        assert anonymous.headers["Access-Control-Allow-Origin"] == "https://charts.example"


def test_without_origins_a_preflight_request_needs_a_token(client: TestClient) -> None:
    headers = {"Origin": "https://charts.example", "Access-Control-Request-Method": "GET"}
    assert TestClient(client.app).options("/udf/time", headers=headers).status_code == 401
    assert client.options("/udf/time", headers=headers).status_code == 405


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "has no token: add one with 'ohlcv serve --new-token NAME'"),
        ("# a comment\n\n", "has no token"),
        (f"a {TOKEN}\nb {TOKEN}\n", "line 2 repeats a token of an earlier line"),
        (f"a {TOKEN} c\n", "line 1 is not 'NAME TOKEN'"),
        (f"\n{TOKEN}\n", "line 2 is not 'NAME TOKEN'"),
        (f"a/b {TOKEN}\n", "line 1 is not 'NAME TOKEN'"),
        (f"a ü{TOKEN}\n", "line 1 is not 'NAME TOKEN'"),
        ("a " + "x" * 31, "line 1 has a token with fewer than 32 characters"),
        ("\udcff", "is not UTF-8 text"),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_an_invalid_tokens_file_is_refused_at_start(tmp_path: Path, text: str, error: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InputError) as raised:
        check_tokens(file)
    assert error in str(raised.value)
    assert TOKEN not in str(raised.value)
    assert "x" * 31 not in str(raised.value)


def test_a_tokens_file_that_others_can_read_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"a {TOKEN}\n")
    file.chmod(0o640)
    assert check_tokens(file) == [f"other users can read {file}: run 'chmod 600 {file}'"]
    file.chmod(0o600)
    assert check_tokens(file) == []


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_a_tokens_file_must_be_a_readable_file(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "tokens"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    with pytest.raises(InputError, match=r"cannot be read|is not a regular file"):
        check_tokens(file)


def test_new_tokens_are_added_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "tokens"
    first = add_token(file, "first")
    assert file.stat().st_mode & 0o777 == 0o600
    with file.open("a") as appended:
        appended.write("# a comment without a line break")
    second = add_token(file, "second")
    found, errors = parse_tokens(file.read_text())
    assert ([token.name for token in found], errors) == (["first", "second"], [])
    assert {token.digest for token in found} == {tokens.digest(first), tokens.digest(second)}
    with pytest.raises(InputError, match="has a token of first"):
        add_token(file, "first")
    with pytest.raises(InputError, match="1 to 64 letters"):
        add_token(file, "a b")
