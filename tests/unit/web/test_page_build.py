"""The Candles page: its build, its lock file, and the fields that it reads from the answers of the service."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

ROOT = Path(__file__).parents[3]
STATIC = ROOT / "include" / "ohlcv" / "web" / "static"
PAGE = ROOT / "page"

INTERFACE = re.compile(r"export interface (\w+) \{\n(.*?)\n\}", re.DOTALL)
REQUIRED_FIELD = re.compile(r"^  (\w+):", re.MULTILINE)
SERIES = {"timeframe": "1h", "symbol": "BTC", "exchange": "X"}


@pytest.fixture(scope="module")
def bundle() -> str:
    (path,) = STATIC.glob("candles-*.js")
    return path.read_text()


def fields(interface: str) -> set[str]:
    """Return the required fields of an interface of the page."""
    interfaces = dict(INTERFACE.findall((PAGE / "src" / "api" / "types.ts").read_text()))
    return set(REQUIRED_FIELD.findall(interfaces[interface]))


def test_the_bundle_names_no_other_host_than_that_of_the_attribution(bundle: str) -> None:
    hosts = set(re.findall(r"https?://([^/\"'`\s]+)", bundle))
    # The second is the name of a namespace.
    assert hosts == {"www.tradingview.com", "www.w3.org"}


def test_the_bundle_takes_react_from_airflow_and_has_no_generated_data(bundle: str) -> None:
    for name in ("React", "ReactJSXRuntime", "ReactRouterDOM"):
        assert f".{name}" in bundle
    assert "Minified React error" not in bundle
    assert "ohlcv_reprocess/dagRuns" in bundle
    assert "ETH-USD" not in bundle


def test_the_build_has_the_documentation_and_the_licences() -> None:
    names = {path.name for path in STATIC.iterdir()}
    assert names >= {"swagger-ui-bundle.js", "swagger-ui.css", "licenses.md"}
    assert "lightweight-charts" in (STATIC / "licenses.md").read_text()


def test_the_lock_file_names_no_registry() -> None:
    packages: dict[str, dict[str, Any]] = json.loads((PAGE / "package-lock.json").read_text())["packages"]
    assert all("resolved" not in package for package in packages.values())
    assert all("integrity" in package for name, package in packages.items() if name)


def test_the_service_sends_the_fields_that_the_page_reads(client: TestClient) -> None:
    def get(path: str, **parameters: str) -> dict[str, Any]:
        answer: dict[str, Any] = client.get(f"/api/v1/{path}", params=parameters).json()
        return answer

    timeframes, series = get("timeframes"), get("series", timeframe="1h")
    candles = get("candles", **SERIES, provisional="true")
    for interface, document in {
        "TimeframesAnswer": timeframes,
        "TimeframeInfo": timeframes["timeframes"][0],
        "SeriesAnswer": series,
        "SeriesRange": series["series"][0],
        "CandlesAnswer": candles,
        "Candle": candles["candles"][0],
        "Snapshot": candles["snapshot"],
        "Provisional": candles["provisional"],
    }.items():
        assert fields(interface) <= document.keys(), interface
