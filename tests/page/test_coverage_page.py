"""The tab Coverage in a browser, with planted faults: its states are those of the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables
from support.api_servers import ApiServer, api_server
from support.browser import DOWN, END, ENTER, ESCAPE, HOME, LEFT, RIGHT, SHIFT, UP, browser
from support.candle_rows import HOUR, candle, write_candles
from support.candles_page import CandlesPage
from support.planted_coverage import BEGIN, HOURS, OUTAGE, plant_coverage
from support.processes import wait_for

pytestmark = pytest.mark.page

OUTAGE_CELL = f"{BEGIN + OUTAGE.start * HOUR.length:%Y-%m-%dT%H:%M:%SZ}"
ROWS = "return [...document.querySelectorAll('.oc-heat-name')].map((each) => each.textContent)"
CURSOR = "return document.getElementById('oc-heat-cursor')?.getAttribute('aria-label') ?? ''"
FACTS = """
const pairs = [...document.querySelectorAll(".oc-cell dl div")];
return Object.fromEntries(pairs.map((pair) => [...pair.children].map((part) => part.textContent)));
"""

EXCHANGES = """
const label = [...document.querySelectorAll("label")].find((each) => each.firstChild.textContent === "Exchange");
return [...label.querySelectorAll("option")].map((each) => each.textContent);
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Return a server with planted coverage, and hourly candles of one series."""
    home = tmp_path_factory.mktemp("planted")
    settings = load_settings({"OHLCV_HOME": str(home)})
    create_tables(settings)
    plant_coverage(settings)
    starts = [BEGIN + hour * HOUR.length for hour in range(HOURS) if hour not in OUTAGE]
    write_candles(settings, HOUR, *(candle(HOUR, start, "100", "BTC-USD", "kraken") for start in starts))
    with api_server(tmp_path_factory.mktemp("simple") / "airflow", "simple", {"OHLCV_HOME": str(home)}) as running:
        yield running


@pytest.fixture(scope="module")
def viewer(server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CandlesPage]:
    with browser(tmp_path_factory.mktemp("browser")) as window:
        page = CandlesPage(window, server.url)
        page.log_in("viewer", server.passwords["viewer"])
        yield page


@pytest.fixture
def page(viewer: CandlesPage) -> Iterator[CandlesPage]:
    yield viewer
    assert viewer.console_errors() == []
    assert viewer.foreign_requests() == []


def open_coverage(page: CandlesPage, query: str = "") -> None:
    page.open(f"tab=coverage&{query}")
    wait_for(lambda: page.window.has(".oc-heat-row"), "the heat map is shown")


def read(server: ApiServer, query: str = "") -> dict[str, Any]:
    answer: dict[str, Any] = server.get(f"/ohlcv/api/v1/coverage?{query}", "viewer").json()
    return answer


def focus_map(page: CandlesPage) -> None:
    page.window.run("document.querySelector('[role=grid]').focus()")


def cursor_after(page: CandlesPage, *keys: str) -> str:
    """Press keys in the map, and return the description of the cell that has the cursor."""
    page.window.press(*keys)
    return str(page.window.run(CURSOR))


def name(series: dict[str, Any]) -> str:
    return f"{series['symbol'] or 'no symbol'} · {series['exchange'] or 'no exchange'}"


def test_each_cell_has_the_state_of_the_api(server: ApiServer, page: CandlesPage) -> None:
    open_coverage(page)
    answer = read(server)
    assert page.window.run(ROWS) == [name(series) for series in answer["series"]]
    focus_map(page)
    seen = set()
    for number, series in enumerate(answer["series"]):
        for column, state in enumerate(series["states"]):
            keys = [RIGHT] if column else [DOWN, HOME] if number else [HOME]
            label = cursor_after(page, *keys)
            time = answer["hours"][column].replace("T", " ").replace(":00Z", " UTC")
            assert label.startswith(f"{name(series)}, {time}: {state or 'no state'}")
            missing, notes = series["missing"][column], series["notes"][column]
            assert ("missing number" in label) == bool(missing)
            assert ("note" in label) == bool(notes)
            seen.add(state)
    assert seen == {"no gap", "sequence gaps", "silent", "no data", "unknown", None}


def test_the_map_draws_the_states_in_light_and_dark(page: CandlesPage) -> None:
    names = ["state-no-gap", "state-gaps", "state-silent", "state-no-data", "state-note"]
    for mode in ("Dark Mode", "Light Mode"):
        page.choose_appearance(mode)
        open_coverage(page, "problems=only")
        pixels = dict(zip(names, page.window.count_pixels(".oc-heat", page.colors(*names)), strict=True))
        print(mode, pixels)
        assert min(pixels.values()) > 100
        # Four series are without data for five hours; a cell has 16 by more than 20 pixels.
        assert pixels["state-no-data"] > 4 * 5 * 16 * 20


def test_the_list_of_exchanges_has_those_of_the_candles(page: CandlesPage) -> None:
    open_coverage(page, "coverage_exchange=coinbase")
    wait_for(lambda: page.window.run(EXCHANGES) == ["all", "coinbase", "kraken"], "the exchanges are listed")


def test_the_facts_of_a_cell_are_shown(server: ApiServer, page: CandlesPage) -> None:
    open_coverage(page, "search=eth-usd&coverage_exchange=coinbase&problems=only")
    [series] = read(server, "search=eth-usd&exchange=coinbase")["series"]
    column = series["states"].index("sequence gaps")
    focus_map(page)
    cursor_after(page, HOME, *[RIGHT] * column)
    assert page.window.run(FACTS) == {
        "Trades": str(series["trades"][column]),
        "Missing numbers": str(series["missing"][column]),
        "Rejected": "0",
        "Duplicates": "0",
    }
    assert series["details"][column] in page.window.text_of(".oc-cell")
    cursor_after(page, ESCAPE)
    wait_for(lambda: "Point at a cell" in page.window.text_of(".oc-cell"), "Escape hides the cursor")
    page.window.hover(".oc-heat-cells svg")
    wait_for(lambda: "coinbase" in page.window.text_of(".oc-cell"), "the pointer shows a cell")


def test_a_link_opens_the_same_view(page: CandlesPage) -> None:
    open_coverage(page)
    page.press_button("7 d")
    page.press_button("← Previous")
    wait_for(lambda: "until" in page.selection, "the address has the range")
    page.press_button("Newest")
    wait_for(lambda: "until" not in page.selection, "the range is the newest")
    page.press_button("24 h")
    page.window.click("//label[normalize-space() = 'Only with problems']")
    page.window.type("#oc-coverage-search", "btc" + ENTER)
    wait_for(lambda: page.window.run(ROWS) == ["BTC-USD · binance", "BTC-USD · kraken"], "the series are filtered")
    focus_map(page)
    label = cursor_after(page, DOWN, DOWN, END, SHIFT, LEFT, RIGHT, RIGHT, UP, DOWN)
    wait_for(lambda: page.selection.get("cell_exchange") == "kraken", "the address has the cell")
    assert page.selection.keys() == {"tab", "search", "problems", "cell", "cell_exchange", "cell_symbol"}
    address = page.window.url
    page.window.open("about:blank")
    page.window.open(address)
    wait_for(lambda: page.window.run(CURSOR) == label, "the link opens the same cell")
    assert page.window.run(ROWS) == ["BTC-USD · binance", "BTC-USD · kraken"]


def test_a_note_explains_the_outage_and_the_chart_opens_there(page: CandlesPage) -> None:
    open_coverage(page, f"cell={OUTAGE_CELL}&cell_exchange=kraken&cell_symbol=BTC-USD")
    facts = wait_for(lambda: page.window.text_of(".oc-cell"), "the facts are shown")
    assert "no trade of any series of this exchange" in facts
    assert "outage Matching engine stopped" in facts
    assert "by Ada" in facts
    focus_map(page)
    page.window.press(ENTER)
    # The hour of the outage has no candle, so the legend has no values.
    wait_for(lambda: page.heading.startswith("BTC-USD · kraken"), "the chart of the series is shown")
    assert page.selection["at"] == OUTAGE_CELL
    page.window.back()
    wait_for(lambda: "no data" in page.window.run(CURSOR), "the back button returns to the cell")


@pytest.mark.parametrize("width", [360, 700, 1024])
def test_a_narrow_window_needs_no_horizontal_scrolling_of_the_page(page: CandlesPage, width: int) -> None:
    page.window.emulate_phone(width, 740)
    try:
        open_coverage(page, "span=31d")
        widths = page.window.run(
            "const page = document.querySelector('.oc-page');"
            "return [innerWidth, document.scrollingElement.scrollWidth, page.scrollWidth - page.clientWidth]"
        )
        assert widths == [width, width, 0]
    finally:
        page.window.stop_emulation()
