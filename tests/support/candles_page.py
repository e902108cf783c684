"""The Candles page in a browser: what a user does there and sees."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.browser import ENTER, Browser, Color
from support.processes import wait_for

CHART = ".oc-canvas"
NAVIGATION = "//a[contains(@href, '/plugin/candles')]"
# Lines in the console that are no faults of the page. The browser notes each response with an error status there.
EXPECTED_ERRORS = (
    # Scripts of the login form of the FAB auth manager.
    "/auth/static/appbuilder/",
    # Before the login Airflow's page asks for its configuration, and follows the refusal to the form.
    "/ui/config - Failed to load resource: the server responded with a status of 401",
    # On a busy machine the service misses its deadline. The page asks again.
    "Failed to load resource: the server responded with a status of 503",
    # A hint of Chromium to readers of a canvas: count_pixels() is one.
    "willReadFrequently",
)
# Colours of the page as the browser computes them, by name.
COLORS = """
const styles = getComputedStyle(document.querySelector(".oc-page"));
const context = new OffscreenCanvas(1, 1).getContext("2d");
return arguments[0].map((name) => {
  context.fillStyle = styles.getPropertyValue(`--oc-${name}`).trim();
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
});
"""
LEGEND = """
const pairs = [...document.querySelectorAll(".oc-legend dl div")];
return Object.fromEntries(pairs.map((pair) => [...pair.children].map((part) => part.textContent)));
"""
TIME = ".oc-legend-time"
FIELDS = {
    "Open": "open_price",
    "High": "high_price",
    "Low": "low_price",
    "Close": "close_price",
    "Volume": "volume",
    "Trades": "trade_count",
    "VWAP": "vwap",
}
# Names of the measures in the legend.
MEASURES = ("Quote volume", "Taker buy", "First trade", "Last trade")


def shown(value: str | int, decimals: int = 0) -> str:
    """Return a number as the legend shows it: all digits, thousands separators, at least so many decimals."""
    whole, _, fraction = f"{Decimal(value):f}".partition(".")
    fraction = fraction.rstrip("0").ljust(decimals, "0")
    return f"{int(whole):,}" + (f".{fraction}" if fraction else "")


def legend_of(candle: dict[str, Any]) -> dict[str, str]:
    """Return the numbers that the legend shows for a candle of the API."""
    whole = ("Volume", "Trades")
    return {name: shown(candle[field], 0 if name in whole else 2) for name, field in FIELDS.items()}


class CandlesPage:
    """The page in a window, at an address of Airflow."""

    def __init__(self, window: Browser, url: str) -> None:
        self.window = window
        self.url = url

    def log_in(self, username: str, password: str) -> None:
        """Log in with Airflow's form: that of the simple or of the FAB auth manager."""
        self.window.open(f"{self.url}/")
        wait_for(lambda: self.window.has("input[name=username]"), "the login form is shown")
        self.window.type("input[name=username]", username)
        self.window.type("input[name=password]", password + ENTER)
        wait_for(lambda: self.window.has(NAVIGATION), "the navigation has Candles")

    def open_from_navigation(self) -> None:
        self.window.click(NAVIGATION)
        self.await_candles()

    def open(self, query: str = "", path: str = "/plugin/candles") -> None:
        self.window.open(f"{self.url}{path}?{query}")
        wait_for(lambda: self.window.has(".oc-page"), "the page is shown")
        if "tab=" not in query:
            self.await_candles()

    def await_candles(self) -> None:
        """Wait until the legend has values and nothing loads."""

        def are_shown() -> bool:
            return bool(self.legend()) and "loading" not in self.window.text_of(TIME)

        wait_for(are_shown, "the candles are shown")

    def legend(self) -> dict[str, str]:
        """Return the numbers of the legend of the first chart."""
        values: dict[str, str] = self.window.run(LEGEND)
        return {name: value for name, value in values.items() if name in FIELDS}

    def measures(self) -> dict[str, str]:
        """Return the measures of the legend of the first chart."""
        values: dict[str, str] = self.window.run(LEGEND)
        return {name: value for name, value in values.items() if name in MEASURES}

    @property
    def is_provisional(self) -> bool:
        return "provisional" in self.window.text_of(TIME)

    def show_first_candle(self) -> dict[str, str]:
        """Move the crosshair to the first candle of the series, and return the legend."""
        self.window.run(f"document.querySelector('{CHART}').focus()")
        self.window.press("\ue011")
        wait_for(lambda: not self.is_provisional and bool(self.legend()), "the first candle is shown")
        self.await_candles()
        return self.legend()

    @property
    def heading(self) -> str:
        """Return series and drawn timeframe, for example `BTC-USD · binance 1h`."""
        return " ".join(self.window.text_of(".oc-pane-head h2").split())

    def await_heading(self, *parts: str) -> None:
        wait_for(lambda: all(part in self.heading for part in parts), f"the heading has {parts}")
        self.await_candles()

    @property
    def selection(self) -> dict[str, str]:
        """Return the parameters of the address."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.window.url).query).items()}

    def press_button(self, text: str) -> None:
        self.window.click(f"//*[contains(@class, 'oc-page')]//button[normalize-space() = '{text}']")

    def choose(self, label: str, text: str) -> None:
        """Choose in a combobox by typing."""
        field = f"//label[normalize-space() = '{label}']/following-sibling::input"
        self.window.click(field)
        self.window.type(field, text + ENTER)

    def choose_appearance(self, text: str) -> None:
        """Choose an entry of Appearance in the user's menu of Airflow."""
        item = f"//*[@role = 'menuitemradio'][normalize-space() = '{text}']"
        self.window.click("//button[.//text()[normalize-space() = 'User']]")
        appearance = "//*[@role = 'menuitem'][normalize-space() = 'Appearance']"
        wait_for(lambda: self.window.is_visible(appearance), "the user's menu is open")
        self.window.click(appearance)
        wait_for(lambda: self.window.is_visible(item), "the submenu is open")
        self.window.click(item)
        wait_for(lambda: not self.window.is_visible(item), "the menu is closed")

    def colors(self, *names: str) -> list[Color]:
        return [(red, green, blue) for red, green, blue in self.window.run(COLORS, names)]

    def count_chart_pixels(self, *names: str) -> dict[str, int]:
        """Return how many pixels of the chart have the colours of these names."""
        return dict(zip(names, self.window.count_pixels(CHART, self.colors(*names)), strict=True))

    def console_errors(self) -> list[str]:
        """Return the errors in the console that are not of Airflow itself."""
        return [error for error in self.window.console_errors() if not any(each in error for each in EXPECTED_ERRORS)]

    def foreign_requests(self) -> list[str]:
        """Return the requests to other hosts than Airflow."""
        return [each.url for each in self.window.requests() if not each.url.startswith(self.url + "/")]
