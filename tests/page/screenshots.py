"""Takes the screenshots in docs/images from a running demo and from planted coverage: `make screenshots`.

Usage: screenshots.py FOLDER
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ohlcv.config.settings import load_settings
from ohlcv.demo.local_airflow import USER
from ohlcv.iceberg.tables import create_tables
from support.api_servers import api_server
from support.browser import browser
from support.candles_page import CHART, CandlesPage
from support.demos import running_demo
from support.planted_coverage import plant_coverage
from support.processes import wait_for

TRADES = 300_000
WIDTH, HEIGHT = 1280, 860
PHONE = (360, 740)
PATIENCE = 1_800
MAX_BYTES = 300_000
# An hour of the outage in the planted coverage, with the cursor.
COVERAGE_QUERY = "tab=coverage&cell=2026-03-02T09:00:00Z&cell_exchange=kraken&cell_symbol=BTC-USD"
CHART_QUERY = "symbol=BTC-USD&exchange=binance&timeframe=30m"

# The number of cards with a successful run.
SUCCESSFUL = """
return [...document.querySelectorAll(".oc-card")].filter((card) => /success/.test(card.innerText)).length;
"""


def take_screenshots(page: CandlesPage, save: Callable[[str], None]) -> None:
    """Take all screenshots. The name of each is that of its file."""
    page.choose_appearance("Light Mode")
    for mode in ("light", "dark"):
        page.choose_appearance(f"{mode.title()} Mode")
        page.open(CHART_QUERY)
        wait_for(lambda: page.is_provisional, "the current window is shown", 0.5, PATIENCE)
        page.window.hover(CHART, 120, 70)
        save(f"candles-{mode}")
    page.choose_appearance("Light Mode")
    page.open("tab=pipeline")
    wait_for(lambda: page.window.run(SUCCESSFUL) >= 5, "all timeframes have runs", 0.5, PATIENCE)
    save("candles-pipeline")
    page.open("tab=quality")
    wait_for(lambda: page.window.text.count("passed") >= 5, "all timeframes have verdicts", 0.5, PATIENCE)
    page.window.run("document.querySelector('.oc-card details').open = true")
    save("candles-quality")
    page.window.emulate_phone(*PHONE)
    page.open(CHART_QUERY)
    wait_for(lambda: page.is_provisional, "the current window is shown", 0.5, PATIENCE)
    save("candles-phone")


def take_coverage_screenshot(page: CandlesPage, save: Callable[[str], None]) -> None:
    """Take the screenshot of the coverage."""
    page.choose_appearance("Light Mode")
    page.open(COVERAGE_QUERY)
    wait_for(lambda: "outage" in page.window.text_of(".oc-cell"), "the note is shown")
    save("candles-coverage")


def of_demo(folder: Path) -> None:
    """Start a demo, wait until its history is built, and take the screenshots."""
    with tempfile.TemporaryDirectory() as temporary, running_demo(Path(temporary), TRADES) as demo:
        demo.wait_for_history()
        url, login = demo.login(USER)
        take(folder, url, login, take_screenshots)


def of_coverage(folder: Path) -> None:
    """Start an API server with planted coverage, and take its screenshot."""
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary) / "home"
        settings = load_settings({"OHLCV_HOME": str(home)})
        create_tables(settings)
        plant_coverage(settings)
        with api_server(Path(temporary) / "airflow", "simple", {"OHLCV_HOME": str(home)}) as server:
            login = {"username": "viewer", "password": server.passwords["viewer"]}
            take(folder, server.url, login, take_coverage_screenshot)


def take(
    folder: Path, url: str, login: dict[str, str], steps: Callable[[CandlesPage, Callable[[str], None]], None]
) -> None:
    """Log in and take screenshots into a folder."""
    with tempfile.TemporaryDirectory() as temporary, browser(Path(temporary) / "browser") as window:
        page = CandlesPage(window, url)
        window.resize(WIDTH, HEIGHT)
        page.log_in(**login)

        def save(name: str) -> None:
            picture = window.screenshot()
            assert len(picture) < MAX_BYTES, f"{name}.png has {len(picture):,} bytes"
            (folder / f"{name}.png").write_bytes(picture)
            print(f"{name}.png: {len(picture):,} bytes")

        steps(page, save)


if __name__ == "__main__":
    of_coverage(Path(sys.argv[1]))
    of_demo(Path(sys.argv[1]))
