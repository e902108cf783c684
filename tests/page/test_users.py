"""The Candles page for a viewer and an administrator, with both auth managers of Airflow."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from support.api_servers import ApiServer
from support.browser import browser
from support.candles_page import CandlesPage, legend_of
from support.processes import wait_for

pytestmark = pytest.mark.page


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


def test_nobody_sees_the_page_without_a_login(server: ApiServer, tmp_path: Path) -> None:
    with browser(tmp_path / "browser") as window:
        window.open(f"{server.url}/plugin/candles")
        wait_for(lambda: "/auth/login" in window.url and window.has("input[name=username]"), "the login form is shown")
        assert not window.has(".oc-page")
        addresses = [each.url for each in window.requests() if "/ohlcv/" in each.url]
        assert addresses == []
        assert server.get("/ohlcv/api/v1/timeframes").status_code == httpx.codes.UNAUTHORIZED
