"""A browser, driven by the W3C WebDriver protocol: Debian's chromium and chromium-driver."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ohlcv.spark.processes import free_port, start, stop
from support.processes import wait_for

# The key of an element's id in WebDriver's answers: https://www.w3.org/TR/webdriver2/#elements
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--window-size=1400,1000",
]


class Browser:
    """A browser window."""

    def __init__(self, address: str) -> None:
        self._address = address
        options = {"goog:chromeOptions": {"args": ARGUMENTS}}
        self._session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": options}})["sessionId"]

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._address + path, data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def _do(self, method: str, path: str, body: Any = None) -> Any:
        return self._call(method, f"/session/{self._session}{path}", body)

    def open(self, url: str) -> None:
        self._do("POST", "/url", {"url": url})

    @property
    def url(self) -> str:
        return str(self._do("GET", "/url"))

    @property
    def text(self) -> str:
        """Return the visible text of the page."""
        return str(self._do("POST", "/execute/sync", {"script": "return document.body.innerText", "args": []}))

    def find(self, selector: str) -> str:
        return str(self._do("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT])

    def type(self, selector: str, text: str) -> None:
        self._do("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def click(self, selector: str) -> None:
        self._do("POST", f"/element/{self.find(selector)}/click", {})

    def close(self) -> None:
        self._do("DELETE", "")


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start a browser, and stop it when the block ends."""
    port = free_port()
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    driver = start(["chromedriver", f"--port={port}"], environment, folder / "chromedriver.log")
    try:
        wait_for(
            lambda: "started successfully" in (folder / "chromedriver.log").read_text(), "chromedriver has started"
        )
        window = Browser(f"http://127.0.0.1:{port}")
        yield window
        window.close()
    finally:
        stop(driver)
