"""The Candles page of a running demo, in a browser: chart, pipeline, quality, rebuild, phone."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ohlcv.demo.local_airflow import USER, VIEWER
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES
from support.browser import DOWN, ENTER, ESCAPE, LEFT, PAGE_UP, RIGHT, SHIFT, TAB, browser
from support.candles_page import CHART, TIME, CandlesPage, legend_of
from support.demos import BIN, Demo, running_demo
from support.processes import wait_for

pytestmark = [pytest.mark.page, pytest.mark.timeout(1800)]

BTC = "symbol=BTC-USD&exchange=binance"
PHONE = (360, 740)
# The first run of a timeframe has ended when the demo is ready; its verdict is read from Airflow some seconds later.
PATIENCE = 300


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        running.wait_for_history()
        yield running


@pytest.fixture(scope="module")
def admin(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CandlesPage]:
    """Return the page in the window of a user who is logged in."""
    with logged_in(demo, USER, tmp_path_factory.mktemp("admin")) as page:
        yield page


@pytest.fixture
def page(admin: CandlesPage) -> Iterator[CandlesPage]:
    """Return the administrator's page. In the end the console has no error, and no other host was asked."""
    yield admin
    assert admin.console_errors() == []
    assert admin.foreign_requests() == []


@contextmanager
def logged_in(demo: Demo, user: str, folder: Path) -> Iterator[CandlesPage]:
    """Open a window and log in."""
    url, login = demo.login(user)
    with browser(folder) as window:
        page = CandlesPage(window, url)
        page.log_in(**login)
        yield page


def read(demo: Demo, path: str) -> Any:
    """Read the API as the administrator does."""
    return json.loads(fetch(demo, f"/ohlcv/api/v1/{path}"))


def fetch(demo: Demo, path: str) -> str:
    url, login = demo.login(USER)
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        token = client.post("/auth/token", json=login).json()["access_token"]
        response = client.get(path, headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == httpx.codes.OK, response.text
    return response.text


def test_the_navigation_leads_to_the_candles_of_the_sample(demo: Demo, page: CandlesPage) -> None:
    page.open_from_navigation()
    page.await_heading("BTC-USD · binance", "1h")
    first = page.show_first_candle()
    series = next(
        each
        for each in read(demo, "series?timeframe=1h")["series"]
        if (each["symbol"], each["exchange"]) == ("BTC-USD", "binance")
    )
    begin = datetime.fromisoformat(series["first_window"])
    [candle] = read(demo, f"candles?timeframe=1h&{BTC}&start={series['first_window']}&limit=1")["candles"]
    assert first == legend_of(candle)
    assert f"{begin:%Y-%m-%d %H:%M} UTC" in page.window.text_of(TIME)
    options = f"--timeframe 1h --symbol BTC-USD --exchange binance --start {begin:%Y-%m-%dT%H:%MZ}"
    end = begin + timedelta(hours=1)
    shell = demo.shell(f"{BIN}/ohlcv candles {options} --end {end:%Y-%m-%dT%H:%MZ} --format json")
    assert shell.returncode == 0, shell.stderr
    [printed] = json.loads(shell.stdout)
    assert first == legend_of(printed)


def test_the_chart_draws_candles_volume_and_vwap(page: CandlesPage) -> None:
    page.open(f"{BTC}&range=1d")
    wait_for(lambda: page.is_provisional, "the current window is shown", patience=PATIENCE)
    pixels = page.count_chart_pixels("up", "down", "vwap", "provisional")
    print(pixels)
    # The trades differ in each run, but not all of 24 candles rise or fall.
    assert pixels["up"] + pixels["down"] > 2_000
    assert min(pixels["up"], pixels["down"]) > 50
    # A thin line, most of whose pixels are mixed with the colour behind it.
    assert pixels["vwap"] > 10
    assert pixels["provisional"] > 20


def test_symbol_and_timeframe_are_in_the_address(page: CandlesPage) -> None:
    page.open()
    page.choose("Symbol", "ETH-USD")
    page.await_heading("ETH-USD")
    page.choose("Exchange", "coinbase")
    page.await_heading("ETH-USD · coinbase")
    page.press_button("5m")
    page.await_heading("ETH-USD · coinbase", "5m")
    assert page.selection == {"symbol": "ETH-USD", "exchange": "coinbase", "timeframe": "5m"}
    address, first = page.window.url, page.show_first_candle()
    # The address of a view that was moved has its range. The link and the view that it opens are the same.
    wait_for(lambda: "start" in page.selection, "the address has the range")
    moved = page.window.url
    page.window.open("about:blank")
    page.window.open(moved)
    page.await_heading("ETH-USD · coinbase", "5m")
    assert page.show_first_candle() == first
    page.open(address.partition("?")[2])
    page.await_heading("ETH-USD · coinbase", "5m")
    page.press_button("30m")
    page.await_heading("30m")
    page.window.back()
    page.await_heading("ETH-USD · coinbase", "5m")


def test_two_exchanges_are_side_by_side(page: CandlesPage) -> None:
    page.open(f"{BTC}&compare=coinbase&timeframe=5m")
    headings = "return [...document.querySelectorAll('.oc-pane-head h2')].map((heading) => heading.innerText)"
    both = wait_for(lambda: page.window.run(headings), "the charts are shown")
    assert [heading.split("\n")[0].split("5m")[0].strip() for heading in both] == [
        "BTC-USD · binance",
        "BTC-USD · coinbase",
    ]


def test_the_tab_of_a_dag_opens_its_timeframe(page: CandlesPage) -> None:
    page.window.open(f"{page.url}/dags/ohlcv_5m")
    tab = "//a[contains(@href, '/plugin/dag-candles')]"
    wait_for(lambda: page.window.has(tab), "the DAG has the tab")
    page.window.click(tab)
    page.await_heading("BTC-USD", "5m")
    page.open("", path="/dags/ohlcv_1h/plugin/dag-candles")
    page.await_heading("BTC-USD", "1h")


def test_the_tab_of_another_dag_says_that_it_builds_no_candles(page: CandlesPage) -> None:
    page.window.open(f"{page.url}/dags/ohlcv_health/plugin/dag-candles")
    wait_for(lambda: "ohlcv_health builds no candles" in page.window.text, "the notice is shown")


def test_the_provisional_candle_moves(page: CandlesPage) -> None:
    page.open(f"{BTC}&timeframe=1m")
    wait_for(lambda: page.is_provisional, "the current window is shown", patience=PATIENCE)
    before = page.legend()
    # The feed adds trades every 20 seconds.
    wait_for(lambda: page.is_provisional and page.legend() != before, "the candle moves", patience=PATIENCE)


def test_a_coarser_timeframe_is_drawn_when_zoomed_out(page: CandlesPage) -> None:
    page.open(f"{BTC}&timeframe=1m&range=all")
    page.await_heading("1m when zoomed in")
    assert "1h" in page.heading or "5m" in page.heading or "30m" in page.heading

    def zoom_in() -> bool:
        page.window.wheel(CHART, -600)
        return "when zoomed in" not in page.heading

    wait_for(zoom_in, "the selected timeframe is drawn", 0.5)
    page.await_heading("1m")


def content(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def test_the_export_equals_the_api(demo: Demo, page: CandlesPage) -> None:
    newest = read(demo, f"candles?timeframe=1h&{BTC}&newest=30")["candles"]
    hours = f"start={newest[0]['window_start']}&end={newest[19]['window_start']}"
    page.open(f"{BTC}&timeframe=1h&{hours}")
    page.window.click("//a[normalize-space() = 'CSV']")
    file = page.window.downloads / "binance-BTC-USD-1h.csv"
    exported = wait_for(lambda: content(file), "the CSV file is saved")
    assert exported == fetch(demo, f"/ohlcv/api/v1/candles?timeframe=1h&{BTC}&{hours}&format=csv")
    rows = list(csv.DictReader(io.StringIO(exported)))
    assert [row["close_price"] for row in rows] == [candle["close_price"] for candle in newest[:19]]
    page.press_button("JSON")
    file = file.with_suffix(".json")
    saved = wait_for(lambda: content(file), "the JSON file is saved")
    assert [row["close_price"] for row in json.loads(saved)] == [row["close_price"] for row in rows]


def test_dark_mode_is_that_of_airflow(page: CandlesPage) -> None:
    page.open(f"{BTC}&range=1d")
    [light] = page.colors("bg")
    assert page.count_chart_pixels("bg")["bg"] > 100_000
    page.choose_appearance("Dark Mode")
    wait_for(lambda: page.colors("bg") != [light], "the page is dark")
    [dark] = page.colors("bg")
    assert max(dark) < 60
    assert min(light) > 200
    wait_for(lambda: page.count_chart_pixels("bg")["bg"] > 100_000, "the chart is dark")
    pixels = page.count_chart_pixels("up", "down")
    assert pixels["up"] + pixels["down"] > 2_000
    page.choose_appearance("Follow System Setting")
    page.window.prefer_color_scheme("light")
    wait_for(lambda: page.colors("bg") == [light], "the page is light")
    page.window.prefer_color_scheme("dark")
    wait_for(lambda: page.colors("bg") == [dark], "the page follows the system")
    page.choose_appearance("Light Mode")
    wait_for(lambda: page.colors("bg") == [light], "the page is light again")


@pytest.mark.parametrize("tab", ["chart", "pipeline", "quality"])
def test_a_phone_needs_no_horizontal_scrolling(page: CandlesPage, tab: str) -> None:
    page.window.emulate_phone(*PHONE)
    try:
        page.open(f"{BTC}&tab={tab}")
        if tab == "chart":
            page.await_candles()
            pixels = page.count_chart_pixels("up", "down")
            assert sum(pixels.values()) > 200
        else:
            wait_for(lambda: page.window.has(".oc-card"), "the cards are shown")
        widths = page.window.run(
            "const page = document.querySelector('.oc-page');"
            "return [innerWidth, document.scrollingElement.scrollWidth, page.scrollWidth - page.clientWidth]"
        )
        assert widths == [PHONE[0], PHONE[0], 0]
    finally:
        page.window.stop_emulation()


def test_the_chart_is_operated_by_keys(page: CandlesPage) -> None:
    page.open(f"{BTC}&timeframe=1h")
    page.window.run("document.querySelector('.oc-header button').focus()")
    reached = []
    for _ in range(60):
        page.window.press(TAB)
        reached.append(page.window.run("return document.activeElement.getAttribute('aria-label') ?? ''"))
        if reached[-1].startswith("Candles of BTC-USD"):
            break
    else:
        pytest.fail(f"Tab does not reach the chart: {reached}")
    first = page.show_first_candle()
    # The chart keeps the focus when the page writes its view into the address.
    wait_for(lambda: "start" in page.selection, "the address has the view")
    start = page.window.text_of(TIME)
    page.window.press(RIGHT)
    wait_for(lambda: page.window.text_of(TIME) != start, "the crosshair moves")
    assert page.legend() != first
    page.window.press(LEFT)
    wait_for(lambda: page.window.text_of(TIME) == start, "the crosshair moves back")
    page.window.press(SHIFT, RIGHT)
    wait_for(lambda: page.window.text_of(TIME) != start, "the crosshair moves by ten windows")
    page.window.press("+", PAGE_UP, ESCAPE)
    # The chart has the focus after all this.
    focused = page.window.run("return document.activeElement.className")
    assert focused == CHART.removeprefix(".")


def test_a_symbol_is_chosen_by_keys(page: CandlesPage) -> None:
    page.open()
    field = "//label[normalize-space() = 'Symbol']/following-sibling::input"
    page.window.run("arguments[0].focus()", page.window.element(field))
    page.window.press(DOWN, DOWN, ENTER)
    page.await_heading("ETH-USD")
    assert page.selection["symbol"] == "ETH-USD"


def test_the_pipeline_shows_the_last_runs(demo: Demo, page: CandlesPage) -> None:
    page.open("tab=pipeline")
    cards = "return [...document.querySelectorAll('.oc-card[aria-label]')].map((card) => card.innerText)"
    names = list(DEFAULT_TIMEFRAMES)

    def complete() -> list[str]:
        found: list[str] = page.window.run(cards)
        return found if len(found) == len(names) and all("success" in card for card in found) else []

    texts = wait_for(complete, "each timeframe has a successful run", patience=PATIENCE)
    for name, text in zip(names, texts, strict=True):
        print(" | ".join(text.split("\n"))[:300])
        assert text.startswith(name)
        assert f"ohlcv_{name}" in text
        assert re.search(r"Rows\n[1-9]", text)
        assert re.search(r"of \d+\)", text)
    status = read(demo, "status")["timeframes"]
    assert [each["name"] for each in status] == names
    assert "none open" in page.window.text
    page.window.click("//article[@aria-label = 'Timeframe 1d']//a[contains(@href, '/runs/')]")
    wait_for(lambda: "/dags/ohlcv_1d/runs/" in page.window.url, "the link leads to the run")


def test_the_quality_shows_verdicts_and_rebuilds_a_range(demo: Demo, page: CandlesPage) -> None:
    open_rebuild_dialog(page)
    run = wait_for(
        lambda: page.window.run("return document.querySelector('.oc-dialog .oc-notice a')?.title"), "the run has begun"
    )
    conf = demo.api().call("GET", f"/dags/ohlcv_reprocess/dagRuns/{run}")["conf"]
    assert conf["dry_run"] is True
    assert conf["timeframes"] == ["1h"]


def test_a_viewer_reads_candles_and_is_refused_to_rebuild(demo: Demo, tmp_path: Path) -> None:
    with logged_in(demo, VIEWER, tmp_path / "viewer") as page:
        page.open_from_navigation()
        page.await_heading("BTC-USD · binance", "1h")
        assert page.legend()
        assert page.console_errors() == []
        open_rebuild_dialog(page)
        wait_for(lambda: "Your user may not trigger ohlcv_reprocess" in page.window.text, "the refusal is explained")
        # The browser notes each refused request in the console.
        assert all("403" in error for error in page.console_errors())
        assert page.foreign_requests() == []


def open_rebuild_dialog(page: CandlesPage) -> None:
    """Open the dialog from the verdict of 1h, and start a dry run."""
    page.open("tab=quality")
    card = "//article[@aria-label = 'Validation of 1h']"
    wait_for(lambda: page.window.has(f"{card}//*[text() = 'passed']"), "1h has a verdict", patience=PATIENCE)
    page.window.click(f"{card}//button[starts-with(normalize-space(), 'Rebuild')]")
    wait_for(lambda: page.window.has("dialog[open]"), "the dialog is open")
    page.window.click("//dialog//button[normalize-space() = 'Start the dry run']")
