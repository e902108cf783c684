"""Lost replies of a REST catalog: after a successful commit no data is lost, and no row is stored twice.

On a database catalog Iceberg's serializable check then deletes live files (tests/crash_recovery/test_lost_reply.py),
so it is used with REST catalogs only.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pyspark.sql import SparkSession

from support.harness import Harness, at, trade
from support.stores import RestCatalog

pytestmark = [
    pytest.mark.catalogs,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

NOON = at("2026-03-31 12:00")
HOUR = timedelta(hours=1)


@dataclass
class ResponseDroppingProxy:
    """An HTTP proxy that can drop or replace the response to the next POST of a path."""

    port: int = 0
    path_ending: str = ""
    times: int = 0
    # Status of the response to send instead. None closes the connection.
    replacement: int | None = None
    # Status of every response that was dropped.
    dropped: list[int] = field(default_factory=list)

    def drop_next(self, path_ending: str, replacement: int | None) -> None:
        self.path_ending, self.times, self.replacement = path_ending, 1, replacement


@contextmanager
def response_dropping_proxy(address: str) -> Iterator[ResponseDroppingProxy]:
    """Run the proxy in front of a server."""
    proxy = ResponseDroppingProxy()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
            # The Host header is relayed too: the catalog returns its own address from it.
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            content = response.read()
            connection.close()
            if self.command == "POST" and proxy.times and self.path.endswith(proxy.path_ending):
                proxy.times -= 1
                proxy.dropped.append(response.status)
                self.close_connection = True
                if proxy.replacement is not None:
                    self.send_response(proxy.replacement)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                return
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_HEAD = do_DELETE = do_PUT = relay  # noqa: N815 - names of the library

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.port = int(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("replacement", [None, 502, 503, 504], ids=["connection cut", "502", "503", "504"])
def test_after_a_lost_reply_each_candle_is_stored_once(
    spark: SparkSession, nessie: RestCatalog, tmp_path: Path, replacement: int | None
) -> None:
    environment = nessie.new_branch()
    with response_dropping_proxy(nessie.address) as proxy:
        proxied_uri = environment["OHLCV_CATALOG_URI"].replace(nessie.address, f"http://127.0.0.1:{proxy.port}")
        harness = Harness(spark, tmp_path / "home", {**environment, "OHLCV_CATALOG_URI": proxied_uri})
        harness.load(trade(NOON - 2 * HOUR + timedelta(minutes=n), f"{100 + n % 7}") for n in range(120))
        harness.build("1m", NOON - 2 * HOUR, NOON - HOUR)
        # An update of a day with candles: if Iceberg takes this commit for failed, it deletes the new files.
        proxy.drop_next("/gold_ohlcv_1m", replacement)
        report = harness.build("1m", NOON - 2 * HOUR, NOON)
        assert proxy.dropped == [200]
        assert harness.candles("1m") == harness.expected("1m", (NOON - 2 * HOUR, NOON)).candles
        assert report["snapshot"] == harness.snapshots("1m")[-1]
        assert report["candles"]["inserted"] == 60
        # The rerun finds nothing to change.
        assert harness.build("1m", NOON - 2 * HOUR, NOON)["snapshot"] is None
