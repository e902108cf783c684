"""API documentation, OpenAPI document, static files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from ohlcv.web import routes_candles, routes_catalog, routes_coverage, routes_ledger, routes_pages
from ohlcv.web.app import create_routes
from ohlcv.web.service import Service
from support.candle_rows import HOUR, candle
from support.memory_candles import MemoryCandles


@pytest.fixture
def static(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "page-1a2b.js").write_text("page")
    (folder / "assets" / "logo.svg").write_text("<svg/>")
    (folder / ".hidden").write_text("hidden")
    (tmp_path / "outside.txt").write_text("outside")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    monkeypatch.setattr(routes_pages, "STATIC", folder)
    return folder


def test_only_files_of_the_folder_are_served(client: TestClient, static: Path) -> None:
    assert client.get("/static/page-1a2b.js").text == "page"
    assert client.get("/static/assets/logo.svg").headers["Content-Type"] == "image/svg+xml"
    for path in ("assets", "assets/", ".hidden", "link.txt", "../outside.txt", "..%2foutside.txt", "none.js"):
        assert client.get(f"/static/{path}").status_code == 404, path


def test_without_the_files_of_swagger_the_documentation_is_a_list(client: TestClient, static: Path) -> None:
    page = client.get("/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    for path in client.get("/openapi.json").json()["paths"]:
        assert f"<code>GET {path}</code>" in page.text
    assert "<script" not in page.text


def test_swagger_loads_nothing_from_other_hosts(client: TestClient, static: Path) -> None:
    for name in routes_pages.SWAGGER_FILES:
        (static / name).write_text("")
    page = client.get("/docs")
    assert "SwaggerUIBundle" in page.text
    # Relative, because Airflow serves the page below /ohlcv.
    assert 'src="static/swagger-ui-bundle.js"' in page.text
    assert "//" not in page.text.replace("<!DOCTYPE", "")
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]


def test_the_openapi_document_is_complete(client: TestClient, service: Service) -> None:
    document = client.get("/openapi.json").json()
    assert document["servers"] == [{"url": "."}]
    assert document["security"] == [{"token": []}]
    undocumented = {"/health", "/docs", "/openapi.json", "/static/{path:path}"}
    assert (
        set(document["paths"]) == {getattr(route, "path", "") for route in create_routes(service).routes} - undocumented
    )
    for path, operations in document["paths"].items():
        get = operations["get"]
        assert get["summary"], path
        assert get["description"], path
        assert set(get["responses"]) >= {"200", "400", "401", "403", "429", "503"}, path
        assert "422" not in get["responses"]
        assert get["responses"]["200"]["content"], path
        for parameter in get.get("parameters", []):
            assert parameter["in"] == "query"
            assert parameter.get("description") or parameter["name"] in ("exchange", "symbol", "limit"), (
                path,
                parameter,
            )
    candle = document["components"]["schemas"]["Candle"]["properties"]
    assert candle["open_price"]["examples"] == ["84100.50000000"]
    media = document["paths"]["/api/v1/candles"]["get"]["responses"]["200"]["content"]
    assert set(media) == {
        "application/json",
        "text/csv",
        "application/vnd.apache.parquet",
        "application/vnd.apache.arrow.stream",
    }


def test_the_document_has_a_working_example_of_every_route(
    client: TestClient, candles: MemoryCandles, monkeypatch: pytest.MonkeyPatch
) -> None:
    candles.rows["1h"] = [candle(HOUR, "2026-03-01", symbol="BTC-USD", exchange="coinbase")]
    candles.extended.add("1h")
    # It needs the tables themselves.
    monkeypatch.setattr(routes_catalog, "read_status", lambda *_: {"timeframes": []})
    monkeypatch.setattr(routes_candles, "past_page", lambda *_: b"{}")
    monkeypatch.setattr(routes_ledger, "revisions_page", lambda *_: (b"{", None))
    monkeypatch.setattr(routes_ledger, "history_document", lambda *_: {})
    monkeypatch.setattr(routes_coverage, "coverage_page", lambda *_: b"{}")
    text = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    examples = re.findall(r"^    curl .*?\$API(/[^\" \n]+)", text, re.MULTILINE)
    for address in examples:
        assert client.get(address).status_code == 200, address
    assert {address.partition("?")[0] for address in examples} == set(client.get("/openapi.json").json()["paths"])
