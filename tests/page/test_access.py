"""Access to every route of the gateway and of the candle service behind it, with both auth managers of Airflow."""

from __future__ import annotations

from typing import Any, cast

import pytest
from starlette.routing import Route

from ohlcv.orchestration.candle_gateway import create_gateway
from ohlcv.orchestration.candle_page import STATIC
from ohlcv.orchestration.incidents import VARIABLE_PREFIX, Incident
from ohlcv.web.app import create_routes
from support.api_servers import ApiServer

pytestmark = pytest.mark.page

SERIES = "symbol=BTC-USD&exchange=coinbase"
# A valid request for each route. One that reads a timeframe reads 1h.
QUERIES = {
    "/incidents": "",
    "/api/v1/timeframes": "",
    "/api/v1/series": "timeframe=1h",
    "/api/v1/candles": f"timeframe=1h&{SERIES}",
    "/api/v1/revisions": "timeframe=1h",
    "/api/v1/candles/history": f"timeframe=1h&{SERIES}&time=2026-03-01",
    "/api/v1/coverage": "start=2026-03-01&end=2026-03-02",
    "/api/v1/status": "",
    "/api/v1/quality": "timeframe=1h",
    "/udf/config": "",
    "/udf/time": "",
    "/udf/symbols": "symbol=coinbase:BTC-USD",
    "/udf/search": "query=BTC&limit=5",
    "/udf/history": "symbol=coinbase:BTC-USD&resolution=60&from=1772323200&to=1772409600",
    "/ccxt/ohlcv": "exchange=coinbase&symbol=BTC-USD&timeframe=1h",
    "/api/v1/klines": "exchange=coinbase&symbol=BTC-USD&interval=1h",
    "/health": "",
    "/openapi.json": "",
    "/docs": "",
}
FILE_ROUTES = {"/page/{file}", "/static/{path:path}"}


def static_files() -> list[str]:
    return sorted(path.name for path in STATIC.glob("[!.]*") if path.is_file())


def addresses() -> list[str]:
    """Return a valid address for each route of the two applications."""
    service = create_routes(cast("Any", None))
    routes = {route.path for app in (create_gateway(), service) for route in app.routes if isinstance(route, Route)}
    routes.remove("/{path:path}")  # it forwards to the service
    assert routes == QUERIES.keys() | FILE_ROUTES
    files = [route.partition("{")[0] + name for route in sorted(FILE_ROUTES) for name in static_files()[:2]]
    return [*(path + (f"?{query}" if query else "") for path, query in QUERIES.items()), *files]


def statuses(server: ApiServer, address: str) -> dict[str, int]:
    users = [None, *server.passwords]
    found = {user or "anonymous": server.get(f"/ohlcv{address}", user).status_code for user in users}
    cookies = {user: server.get(f"/ohlcv{address}", user, cookie=True).status_code for user in server.passwords}
    assert cookies == {user: status for user, status in found.items() if user != "anonymous"}
    return found


def test_every_route_needs_a_login_and_access_to_a_dag(server: ApiServer) -> None:
    expected = dict.fromkeys(server.passwords, 200) | {"anonymous": 401}
    if "no-dag" in expected:
        expected["no-dag"] = 403
    print(" ".join(f"{name:>9}" for name in expected), " route")
    found = {}
    for address in addresses():
        found[address] = statuses(server, address)
        print(" ".join(f"{found[address][name]:>9}" for name in expected), f" /ohlcv{address.partition('?')[0]}")
    assert {address: each for address, each in found.items() if each != expected} == {}


def test_a_timeframe_whose_dag_a_user_may_not_read_is_refused(server: ApiServer) -> None:
    if "one-dag" not in server.passwords:
        pytest.skip("in the simple auth manager every user may read every DAG")
    for path in (
        "/api/v1/series?timeframe=5m",
        "/api/v1/candles?timeframe=5m",
        f"/api/v1/candles?timeframe=5m&{SERIES}&vintage=first",
        "/api/v1/revisions?timeframe=5m",
        f"/api/v1/candles/history?timeframe=5m&{SERIES}&time=2026-03-01",
        "/api/v1/quality?timeframe=5m",
    ):
        response = server.get(f"/ohlcv{path}", "one-dag")
        assert response.status_code == 403
        assert "ohlcv_5m" in response.json()["detail"]
    listed = server.get("/ohlcv/api/v1/timeframes", "one-dag").json()["timeframes"]
    assert [timeframe["name"] for timeframe in listed] == ["1h"]
    assert len(server.get("/ohlcv/api/v1/timeframes", "viewer").json()["timeframes"]) > 1


def test_the_user_of_the_health_check_can_read_verdicts(server: ApiServer) -> None:
    if "health" not in server.passwords:
        pytest.skip("in the simple auth manager every user may read every XCom")
    path = "/api/v2/dags/ohlcv_1h/dagRuns/~/taskInstances/~/xcomEntries?xcom_key=verdict"
    assert server.get(path, "health").status_code == 200
    assert server.get(path, "one-dag").status_code == 403


@pytest.mark.parametrize("user", ["viewer", "admin"])
def test_users_can_list_the_page(server: ApiServer, user: str) -> None:
    plugins = server.get("/api/v2/plugins", user).json()["plugins"]
    [plugin] = [each for each in plugins if each["name"] == "ohlcv"]
    assert [each["url_prefix"] for each in plugin["fastapi_apps"]] == ["/ohlcv"]
    if static_files():
        assert {each["destination"] for each in plugin["react_apps"]} == {"nav", "dag"}
        [bundle] = {each["bundle_url"] for each in plugin["react_apps"]}
        assert server.get(bundle, user).status_code == 200


def test_head_is_answered_like_get_without_a_body(server: ApiServer) -> None:
    for address in addresses():
        head, get = (server.get(f"/ohlcv{address}", "viewer", method=method) for method in ("HEAD", "GET"))
        assert (head.status_code, head.content) == (get.status_code, b"")
        for name in ("content-type", "etag", "cache-control"):
            assert head.headers.get(name) == get.headers.get(name)
    assert server.get("/ohlcv/api/v1/timeframes", method="HEAD").status_code == 401


@pytest.mark.parametrize("user", [None, "admin"])
def test_only_reading_is_possible(server: ApiServer, user: str | None) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        response = server.get("/ohlcv/api/v1/candles", user, method=method)
        assert response.status_code == (405 if user else 401)


def test_incidents_are_those_of_readable_dags(server: ApiServer) -> None:
    for key in ("ohlcv_1h:scheduled", "ohlcv_5m:scheduled", "ohlcv_reprocess:manual", "health:candles"):
        incident = Incident("2026-03-01T12:00:00Z", notified=True, suppressed=False, error="no worker")
        server.add_variable(VARIABLE_PREFIX + key, incident.to_json())
    server.add_variable("another", "value")

    def keys(user: str) -> list[str]:
        return [each["key"] for each in server.get("/ohlcv/incidents", user).json()["incidents"]]

    everything = ["health:candles", "ohlcv_1h:scheduled", "ohlcv_5m:scheduled", "ohlcv_reprocess:manual"]
    assert keys("admin") == keys("viewer") == everything
    if "one-dag" in server.passwords:
        assert keys("one-dag") == ["health:candles", "ohlcv_1h:scheduled"]
    shown = server.get("/ohlcv/incidents", "viewer").json()["incidents"][0]
    assert shown == {
        "key": "health:candles",
        "since": "2026-03-01T12:00:00Z",
        "suppressed": False,
        "error": "no worker",
    }
