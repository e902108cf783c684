"""A browser, driven by the W3C WebDriver protocol: Debian's chromium and chromium-driver."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ohlcv.spark.processes import HOST, free_port, start, stop
from support.processes import wait_for

# The key of an element's id in WebDriver's answers: https://www.w3.org/TR/webdriver2/#elements
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--window-size=1400,1000",
    # Requests of the browser itself would count as requests of the page.
    "--disable-background-networking",
    "--disable-component-update",
]
# Errors of a command about an element that is not, or no longer, in the page.
MISSING = ("no such element", "stale element reference")
# Keys: https://www.w3.org/TR/webdriver2/#keyboard-actions
TAB, ENTER, ESCAPE, HOME, END = "\ue004", "\ue007", "\ue00c", "\ue011", "\ue010"
LEFT, UP, RIGHT, DOWN, SHIFT, PAGE_UP = "\ue012", "\ue013", "\ue014", "\ue015", "\ue008", "\ue00e"

# Counts the pixels of a picture by colour; the picture is a screenshot in base64.
COUNT_COLORS = """
const [png, colors, tolerance, done] = arguments;
const image = new Image();
image.onload = () => {
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height);
  const counts = colors.map(() => 0);
  for (let at = 0; at < data.length; at += 4) {
    colors.forEach((color, index) => {
      if (color.every((value, channel) => Math.abs(data[at + channel] - value) <= tolerance)) counts[index] += 1;
    });
  }
  done(counts);
};
image.src = `data:image/png;base64,${png}`;
"""

Color = tuple[int, int, int]


class NoElementError(LookupError):
    """The page has no element for a selector, or has just removed it."""


@dataclass(frozen=True)
class LoggedRequest:
    """A request of the page."""

    url: str
    method: str


class Browser:
    """A browser window."""

    def __init__(self, address: str, downloads: Path) -> None:
        self._address = address
        options = {
            "goog:chromeOptions": {"args": ARGUMENTS},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        self._session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": options}})["sessionId"]
        self.downloads = downloads
        self.devtools("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._address + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            problem = json.load(error)["value"]
            kind = NoElementError if problem["error"] in MISSING else RuntimeError
            raise kind(f"{problem['error']}: {problem['message'].splitlines()[0]}") from None

    def _do(self, method: str, path: str, body: Any = None) -> Any:
        return self._call(method, f"/session/{self._session}{path}", body)

    def open(self, url: str) -> None:
        self._do("POST", "/url", {"url": url})

    def back(self) -> None:
        self._do("POST", "/back", {})

    @property
    def url(self) -> str:
        return str(self._do("GET", "/url"))

    @property
    def text(self) -> str:
        """Return the visible text of the page."""
        return str(self.run("return document.body.innerText"))

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page and return what it returns."""
        return self._do("POST", "/execute/sync", {"script": script, "args": arguments})

    def find(self, selector: str) -> str:
        """Return the id of an element. A selector that begins with / is XPath."""
        using = "xpath" if selector.startswith("/") else "css selector"
        return str(self._do("POST", "/element", {"using": using, "value": selector})[ELEMENT])

    def element(self, selector: str) -> dict[str, str]:
        """Return an element as an argument of run()."""
        return {ELEMENT: self.find(selector)}

    def is_visible(self, selector: str) -> bool:
        try:
            return bool(self._do("GET", f"/element/{self.find(selector)}/displayed"))
        except NoElementError:
            return False

    def has(self, selector: str) -> bool:
        try:
            return bool(self.find(selector))
        except NoElementError:
            return False

    def text_of(self, selector: str) -> str:
        """Return the visible text of the first element of a CSS selector, or nothing if there is none."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def type(self, selector: str, text: str) -> None:
        self._do("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def press(self, *keys: str) -> None:
        """Press keys one after another, in the element that has the focus. Shift holds during the next key."""
        actions: list[dict[str, str]] = []
        held = False
        for key in keys:
            if key == SHIFT:
                actions.append({"type": "keyDown", "value": SHIFT})
                held = True
                continue
            actions += [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
            if held:
                actions.append({"type": "keyUp", "value": SHIFT})
                held = False
        self._do("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def click(self, selector: str) -> None:
        self._do("POST", f"/element/{self.find(selector)}/click", {})

    def wheel(self, selector: str, delta: int) -> None:
        """Turn the wheel over the middle of an element."""
        origin = {ELEMENT: self.find(selector)}
        move = {"type": "scroll", "x": 0, "y": 0, "deltaX": 0, "deltaY": delta, "origin": origin}
        self._do("POST", "/actions", {"actions": [{"type": "wheel", "id": "wheel", "actions": [move]}]})

    def hover(self, selector: str, x: int = 0, y: int = 0) -> None:
        """Move the pointer to a distance from the middle of an element."""
        origin = {ELEMENT: self.find(selector)}
        # Two moves: the first one may enter the element, the second one is inside.
        moves = [{"type": "pointerMove", "x": x + step, "y": y, "duration": 20, "origin": origin} for step in (1, 0)]
        self._do("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": moves}]})

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self._do("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def resize(self, width: int, height: int) -> None:
        self._do("POST", "/window/rect", {"width": width, "height": height})

    def emulate_phone(self, width: int, height: int) -> None:
        """Show pages as on a phone. A canvas would not know an emulated density of pixels, so there is none."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=True
        )

    def stop_emulation(self) -> None:
        self.devtools("Emulation.clearDeviceMetricsOverride")

    def prefer_color_scheme(self, scheme: str) -> None:
        """Set the preference of the system: `light` or `dark`."""
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, selector: str | None = None) -> bytes:
        """Return the window, or one element, as PNG."""
        path = "/screenshot" if selector is None else f"/element/{self.find(selector)}/screenshot"
        return base64.b64decode(self._do("GET", path))

    def count_pixels(self, selector: str, colors: Sequence[Color], tolerance: int = 12) -> list[int]:
        """Return for each colour how many pixels of an element show it."""
        picture = base64.b64encode(self.screenshot(selector)).decode()
        arguments = [picture, [list(color) for color in colors], tolerance]
        found = self._do("POST", "/execute/async", {"script": COUNT_COLORS, "args": arguments})
        return [int(count) for count in found]

    def console_errors(self) -> list[str]:
        """Return the errors and warnings in the console since the last call."""
        entries = self._do("POST", "/se/log", {"type": "browser"})
        return [f"{each['level']}: {each['message']}" for each in entries if each["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[LoggedRequest]:
        """Return the network requests since the last call. Pictures inside a page are none."""
        entries = self._do("POST", "/se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        sent = [each["params"]["request"] for each in messages if each["method"] == "Network.requestWillBeSent"]
        return [
            LoggedRequest(each["url"], each["method"])
            for each in sent
            if not each["url"].startswith(("data:", "blob:"))
        ]

    def close(self) -> None:
        self._do("DELETE", "")


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start a browser, and stop it when the block ends. Downloads and its log go to a folder."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "TZ": "UTC"}
    log = folder / "chromedriver.log"
    driver = start(["chromedriver", f"--port={port}"], environment, log)
    try:
        wait_for(lambda: "started successfully" in log.read_text(), "chromedriver has started")
        window = Browser(f"http://{HOST}:{port}", folder)
        yield window
        window.close()
    finally:
        stop(driver)
