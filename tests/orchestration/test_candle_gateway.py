"""The gateway with a server in place of the candle service, and users in place of Airflow's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import HTTPException
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from ohlcv.config.settings import load_settings
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES
from ohlcv.orchestration import candle_access, candle_forwarding, candle_gateway, candle_service
from ohlcv.orchestration.candle_service import RunningService
from support import candle_service_stub as stub
from support.gateway import LOGIN, EventLoop, client_of, detail, mounted, request
from support.server_thread import running

TOKEN = "t" * 40
ALL = {timeframe.dag_id for timeframe in DEFAULT_TIMEFRAMES.values()}

Get = Callable[..., httpx.Response]


class Permissions:
    """The DAGs that the user may read, and the number of queries."""

    def __init__(self) -> None:
        self.dag_ids = set(ALL)
        self.queries = 0

    def readable_dags(self, user: object, dag_ids: object) -> set[str]:
        self.queries += 1
        return self.dag_ids


@pytest.fixture(autouse=True)
def _event_loop() -> Iterator[None]:
    EventLoop.services = []
    with asyncio.Runner() as EventLoop.runner:
        yield
        for service in EventLoop.services:
            EventLoop.runner.run(service.client.aclose())


@pytest.fixture
def permissions(monkeypatch: pytest.MonkeyPatch) -> Permissions:
    async def get_user(request: Request, _: None, credentials: Any) -> object:
        if request.headers.get("Authorization") != "Bearer good" and request.cookies.get("_token") != "good":
            raise HTTPException(401)
        return object()

    found = Permissions()
    monkeypatch.setattr(candle_access, "get_user", get_user)
    monkeypatch.setattr(candle_access, "readable_dags", found.readable_dags)
    return found


@pytest.fixture
def server() -> Iterator[str]:
    stub.Handler.seen = []
    stub.Handler.released = threading.Event()
    with running(ThreadingHTTPServer(("127.0.0.1", 0), stub.Handler)) as address:
        yield address
        stub.Handler.released.set()


@pytest.fixture
def gateway(server: str, permissions: Permissions) -> Starlette:
    return mounted(lambda: RunningService(server, TOKEN))


def paths(gateway: Starlette) -> list[str]:
    mount = gateway.routes[0]
    assert isinstance(mount, Mount)
    routes = [route for route in mount.routes if isinstance(route, Route)]
    return ["/ohlcv" + route.path.replace("{file}", "a.js").replace("{path:path}", "api/v1/series") for route in routes]


def test_every_route_needs_a_login(gateway: Starlette) -> None:
    for path in paths(gateway):
        for headers in ({"Authorization": ""}, {"Authorization": "Bearer forged"}, {"Cookie": "_token=forged"}):
            response = request(gateway, path, headers={"Authorization": "", **headers})
            assert response.status_code == 401
            assert "log in" in detail(response)
    assert stub.Handler.seen == []


def test_every_route_needs_read_access_to_a_candle_dag(gateway: Starlette, permissions: Permissions) -> None:
    permissions.dag_ids = {"another"}
    for path in paths(gateway):
        response = request(gateway, path)
        assert response.status_code == 403
        assert "ohlcv_1h" in detail(response)
    assert stub.Handler.seen == []


def test_a_request_is_forwarded_with_the_token_and_the_timeframes_of_the_user(
    gateway: Starlette, permissions: Permissions
) -> None:
    permissions.dag_ids = {"ohlcv_1m", "ohlcv_1h"}
    user = {"Cookie": "_token=good; theme=dark", "Origin": "http://elsewhere", "If-None-Match": '"1"'}
    response = request(gateway, "/ohlcv/api/v1/candles?symbol=BTC%2DUSD&start=2026-01-01", headers=user)
    received = response.json()
    headers = {name.lower(): value for name, value in received["headers"].items()}
    assert received["path"] == "/api/v1/candles?symbol=BTC%2DUSD&start=2026-01-01"
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["x-ohlcv-timeframes"] == "1m,1h"
    assert headers["if-none-match"] == '"1"'
    assert not {"cookie", "origin"} & headers.keys()
    assert not {"set-cookie", "access-control-allow-origin"} & response.headers.keys()
    # Nothing is left to compress for the API server.
    assert response.headers["content-encoding"] == "identity"


def test_an_etag_that_matches_is_answered_304(gateway: Starlette) -> None:
    first = request(gateway, "/ohlcv/etag")
    second = request(gateway, "/ohlcv/etag", headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status_code, first.text) == (200, "candles")
    assert (second.status_code, second.content, second.headers["ETag"]) == (304, b"", stub.ETAG)


def test_head_has_the_headers_without_a_body(gateway: Starlette) -> None:
    response = request(gateway, "/ohlcv/large", "HEAD")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == str(stub.BODY_BYTES)


def test_a_large_body_arrives_complete(gateway: Starlette) -> None:
    assert len(request(gateway, "/ohlcv/large").content) == stub.BODY_BYTES


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(gateway: Starlette, method: str) -> None:
    for path in paths(gateway):
        response = request(gateway, path, method)
        assert response.status_code == 405
        assert "GET" in detail(response)
    assert stub.Handler.seen == []


@pytest.mark.parametrize(
    "path",
    [
        "/ohlcv/static/%2e%2e/secret",
        "/ohlcv/static/..%2fsecret",
        "/ohlcv/%2e%2e",
        "/ohlcv/a%5c..%5cb",
        "/ohlcv/a%00b",
        "/ohlcv/page/%2e%2e%2fapp.py",
        "/ohlcv/page/.hidden",
        "/ohlcv/page/missing.js",
        "/ohlcv/page/%2e%2e",
    ],
)
def test_paths_outside_the_pages_are_not_found(gateway: Starlette, path: str) -> None:
    response = request(gateway, path)
    assert response.status_code == 404
    assert detail(response)
    assert stub.Handler.seen == []


def test_a_path_with_two_slashes_does_not_name_another_host(gateway: Starlette) -> None:
    # The server of the standard library drops the first slash.
    assert request(gateway, "/ohlcv//elsewhere/x").json()["path"] == "/elsewhere/x"


def test_a_long_address_is_refused(gateway: Starlette) -> None:
    response = request(gateway, "/ohlcv/api/v1/candles?symbol=" + "x" * 10_000)
    assert response.status_code == 414
    assert "shorten" in detail(response)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/ohlcv/unauthorized", 502, "OHLCV_API_GATEWAY_TOKEN"),
        ("/ohlcv/moved", 404, "/ohlcv/docs"),
        ("/ohlcv/drop", 502, "try again"),
    ],
)
def test_answers_that_the_user_cannot_use_become_problems(
    gateway: Starlette, path: str, status: int, words: str
) -> None:
    response = request(gateway, path)
    assert response.status_code == status
    assert words in detail(response)


def test_a_request_is_sent_again_if_the_process_behind_its_connection_was_replaced(gateway: Starlette) -> None:
    assert request(gateway, "/ohlcv/drop-once").text == "second"


def test_a_service_may_have_a_path(server: str, permissions: Permissions) -> None:
    app = mounted(lambda: RunningService(f"{server}/candles", TOKEN))
    assert request(app, "/ohlcv/api/v1/series?timeframe=1h").json()["path"] == "/candles/api/v1/series?timeframe=1h"


def test_a_service_that_does_not_run_is_named(permissions: Permissions) -> None:
    app = mounted(lambda: RunningService("http://127.0.0.1:1", TOKEN))
    response = request(app, "/ohlcv/api/v1/series")
    assert response.status_code == 502
    assert "http://127.0.0.1:1" in detail(response)


def test_a_service_that_hangs_is_answered_504(gateway: Starlette, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candle_service, "TIMEOUT", httpx.Timeout(5, read=0.05))
    response = request(gateway, "/ohlcv/wait")
    assert response.status_code == 504
    assert "smaller range" in detail(response)


def test_requests_beyond_the_limit_are_answered_503(
    server: str, permissions: Permissions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candle_forwarding, "MAX_REQUESTS", 1)
    monkeypatch.setattr(candle_forwarding, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(candle_service, "TIMEOUT", httpx.Timeout(5, read=0.5))
    gateway = mounted(lambda: RunningService(server, TOKEN))

    async def send_two() -> list[int]:
        async with client_of(gateway) as client:
            answers = await asyncio.gather(*(client.get("/ohlcv/wait", headers=LOGIN) for _ in range(2)))
            return sorted(answer.status_code for answer in answers)

    assert EventLoop.runner.run(send_two()) == [503, 504]


def test_requests_that_wait_for_the_service_let_others_continue(
    server: str, permissions: Permissions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candle_forwarding, "TURN_SECONDS", 0.01)
    gateway = mounted(lambda: RunningService(server, TOKEN))

    async def send() -> list[str]:
        async with client_of(gateway) as client:
            waiting = [
                asyncio.create_task(client.get("/ohlcv/wait", headers=LOGIN))
                for _ in range(candle_forwarding.MAX_TURNS)
            ]
            while len(stub.Handler.seen) < len(waiting):
                await asyncio.sleep(0.01)
            texts = [(await client.get("/ohlcv/etag", headers=LOGIN)).text]
            assert not any(task.done() for task in waiting)
            stub.Handler.released.set()
            return texts + [answer.text for answer in await asyncio.gather(*waiting)]

    assert EventLoop.runner.run(send()) == ["candles", *["late"] * candle_forwarding.MAX_TURNS]


@pytest.mark.parametrize("whole_bytes", [stub.BODY_BYTES, stub.BODY_BYTES - 1])
def test_the_turns_are_given_back(
    server: str, permissions: Permissions, monkeypatch: pytest.MonkeyPatch, whole_bytes: int
) -> None:
    monkeypatch.setattr(candle_forwarding, "MAX_REQUESTS", 1)
    monkeypatch.setattr(candle_forwarding, "MAX_TURNS", 1)
    monkeypatch.setattr(candle_forwarding, "MAX_WHOLE_BYTES", whole_bytes)
    monkeypatch.setattr(candle_forwarding, "WAIT_SECONDS", 0.5)
    gateway = mounted(lambda: RunningService(server, TOKEN))
    paths = ("/ohlcv/large", "/ohlcv/drop", "/ohlcv/moved", "/ohlcv/large")
    assert [request(gateway, path).status_code for path in paths] == [200, 502, 404, 200]


@pytest.mark.parametrize("hanging", ["service", "database"])
def test_pages_of_airflow_are_answered_while_the_service_or_the_database_hangs(
    gateway: Starlette, monkeypatch: pytest.MonkeyPatch, hanging: str
) -> None:
    if hanging == "database":
        monkeypatch.setattr(candle_access, "readable_dags", lambda *_: stub.Handler.released.wait() and ALL)
    gateway.routes.append(Route("/own", lambda _: PlainTextResponse("own page")))

    async def send() -> list[int]:
        async with client_of(gateway) as client:
            waiting = [asyncio.create_task(client.get("/ohlcv/wait", headers=LOGIN)) for _ in range(20)]
            while not stub.Handler.seen and hanging == "service":
                await asyncio.sleep(0.01)
            assert (await client.get("/own")).text == "own page"
            assert not any(task.done() for task in waiting)
            stub.Handler.released.set()
            return [answer.status_code for answer in await asyncio.gather(*waiting)]

    assert EventLoop.runner.run(send()) == [200] * 20


def test_invalid_settings_are_named(permissions: Permissions) -> None:
    app = mounted(lambda: candle_service.candle_service(load_settings({"OHLCV_API_RATE": "none"})))
    response = request(app, "/ohlcv/api/v1/series")
    assert response.status_code == 503
    assert "OHLCV_API_RATE" in detail(response)


def test_permissions_are_read_once_for_concurrent_requests(gateway: Starlette, permissions: Permissions) -> None:
    async def send_many() -> list[int]:
        async with client_of(gateway) as client:
            answers = await asyncio.gather(*(client.get("/ohlcv/x", headers=LOGIN) for _ in range(10)))
            return [answer.status_code for answer in answers]

    assert EventLoop.runner.run(send_many()) == [200] * 10
    assert permissions.queries == 1


def test_requests_without_a_token_are_authorized_one_by_one(
    gateway: Starlette, permissions: Permissions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get_user(request: Request, *_: object) -> str:
        return request.headers["X-User"]

    monkeypatch.setattr(candle_access, "get_user", get_user)
    monkeypatch.setattr(candle_access, "readable_dags", lambda user, _: ALL if user == "reader" else set())
    users = ("reader", "stranger")
    statuses = [
        request(gateway, "/ohlcv/x", headers={"Authorization": "", "X-User": user}).status_code for user in users
    ]
    assert statuses == [200, 403]


def test_a_permission_that_ended_is_no_longer_used(
    gateway: Starlette, permissions: Permissions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candle_access, "CACHE_SECONDS", 0.0)
    statuses = [request(gateway, "/ohlcv/x").status_code]
    permissions.dag_ids = set()
    statuses.append(request(gateway, "/ohlcv/x").status_code)
    assert statuses == [200, 403]


def test_a_database_that_hangs_is_answered_503(
    gateway: Starlette, permissions: Permissions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candle_access, "DATABASE_SECONDS", 0.05)
    released = threading.Event()
    monkeypatch.setattr(candle_access, "readable_dags", lambda *_: released.wait() and ALL)
    response = request(gateway, "/ohlcv/x")
    released.set()
    assert response.status_code == 503
    assert "database" in detail(response)


def test_a_database_error_during_the_login_is_answered_503(gateway: Starlette, monkeypatch: pytest.MonkeyPatch) -> None:
    async def get_user(*_: object) -> None:
        raise OperationalError("SELECT", None, Exception("no connection"))

    monkeypatch.setattr(candle_access, "get_user", get_user)
    response = request(gateway, "/ohlcv/x")
    assert response.status_code == 503
    assert "database" in detail(response)


def test_a_file_of_the_page_is_cached_by_the_browser_only(
    gateway: Starlette, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "candles-1a2b.js").write_text("globalThis.Candles = 1")
    monkeypatch.setattr(candle_gateway, "STATIC", tmp_path)
    response = request(gateway, "/ohlcv/page/candles-1a2b.js")
    assert (response.status_code, response.text) == (200, "globalThis.Candles = 1")
    assert response.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert response.headers["content-type"].startswith("text/javascript")
    # Until it restarts, the API server names the bundle of an earlier build.
    response = request(gateway, "/ohlcv/page/candles-0000.js")
    assert response.status_code == 404
    assert "restart" in detail(response)
    assert "immutable" not in response.headers.get("cache-control", "")


def test_websockets_are_refused(gateway: Starlette) -> None:
    sent: list[Any] = []

    async def connect() -> None:
        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        scope = {"type": "websocket", "path": "/ohlcv/x", "headers": [], "query_string": b"", "root_path": ""}
        await gateway(scope, receive, send)

    EventLoop.runner.run(connect())
    assert sent == ["websocket.close"]
