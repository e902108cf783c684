"""The Candles page for a viewer and an administrator, with both auth managers of Airflow."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from support.api_servers import ApiServer
from support.browser import ENTER, ESCAPE, RIGHT, browser
from support.candles_page import CHART, CandlesPage, legend_of
from support.processes import wait_for

pytestmark = pytest.mark.page

# The texts of the cells of each version of the picked candle.
VERSIONS = """
const rows = [...document.querySelectorAll(".oc-history tbody tr")];
return rows.map((row) => [...row.cells].map((cell) => cell.innerText));
"""


@pytest.mark.parametrize("user", ["viewer", "admin"])
def test_a_user_sees_the_candles_after_the_login(server: ApiServer, user: str, tmp_path: Path) -> None:
    with browser(tmp_path / "browser") as window:
        page = CandlesPage(window, server.url)
        page.log_in(user, server.passwords[user])
        page.open_from_navigation()
        page.await_heading("BTC-USD", "coinbase", "1h")
        query = "timeframe=1h&symbol=BTC-USD&exchange=coinbase&start=2026-03-01&limit=1"
        [first] = server.get(f"/ohlcv/api/v1/candles?{query}", user).json()["candles"]
        assert page.show_first_candle() == legend_of(first)
        assert page.count_chart_pixels("down")["down"] > 500
        page.press_button("5m")
        page.await_heading("5m")
        assert page.selection["timeframe"] == "5m"
        page.open("tab=quality")
        # This server has no login for the candle service, which therefore has no verdicts.
        wait_for(lambda: "Airflow is not reachable" in window.text, "the state of the quality is shown")
        assert page.console_errors() == []
        assert page.foreign_requests() == []


def test_a_candle_shows_its_versions(server: ApiServer, tmp_path: Path) -> None:
    with browser(tmp_path / "browser") as window:
        page = CandlesPage(window, server.url)
        page.log_in("viewer", server.passwords["viewer"])
        page.open("symbol=BTC-USD&exchange=coinbase&timeframe=1h")
        page.show_first_candle()
        window.press(ENTER)
        versions = wait_for(lambda: window.run(VERSIONS), "the versions are shown")
        # Time, change, reason, number of trades, and run.
        assert [[*cells[:3], *cells[-2:]] for cells in versions] == [
            ["2026-03-01 01:02 UTC", "inserted", "–", "3", "scheduled__1"],
            ["2026-03-01 02:03 UTC", "updated", "trade added, trade corrected, 1 min 30 s late", "4", "manual__1"],
            ["2026-03-01 02:04 UTC", "updated", "cause unknown", "5", "other writer"],
        ]
        links = window.run("return [...document.querySelectorAll('.oc-history a')].map((link) => link.href)")
        assert links == [
            f"{server.url}/dags/ohlcv_1h/runs/scheduled__1",
            f"{server.url}/dags/ohlcv_reprocess/runs/manual__1",
        ]
        bottom, height = window.run(
            "return [document.querySelector('tbody').getBoundingClientRect().bottom, innerHeight]"
        )
        assert bottom <= height
        window.press(ESCAPE)
        wait_for(lambda: not window.has(".oc-history"), "Escape closes the versions")
        window.press(RIGHT, ENTER)
        [second] = wait_for(lambda: window.run(VERSIONS), "the versions of the second candle are shown")
        assert second[1:3] == ["known since the ledger began", "–"]
        page.press_button("Close")
        wait_for(lambda: not window.has(".oc-history"), "the button closes the versions")
        assert window.run("return document.activeElement.className") == CHART.removeprefix(".")
        window.click(CHART)
        assert len(wait_for(lambda: window.run(VERSIONS), "a click shows the versions")) == 1
        assert page.console_errors() == []


def test_nobody_sees_the_page_without_a_login(server: ApiServer, tmp_path: Path) -> None:
    with browser(tmp_path / "browser") as window:
        window.open(f"{server.url}/plugin/candles")
        wait_for(lambda: "/auth/login" in window.url and window.has("input[name=username]"), "the login form is shown")
        assert not window.has(".oc-page")
        addresses = [each.url for each in window.requests() if "/ohlcv/" in each.url]
        assert addresses == []
        assert server.get("/ohlcv/api/v1/timeframes").status_code == httpx.codes.UNAUTHORIZED
