"""The reply of a REST catalog is lost after the commit has succeeded: no data is lost, and no row is stored twice.

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
class Forgetful:
    """A web proxy that can swallow the answers to the next POST of a path, or give others in their place."""

    port: int = 0
    word: str = ""
    times: int = 0
    instead: int | None = None
    # Status of every answer that was swallowed.
    swallowed: list[int] = field(default_factory=list)

    def swallow(self, word: str, instead: int | None) -> None:
        self.word, self.times, self.instead = word, 1, instead


@contextmanager
def forgetful(address: str) -> Iterator[Forgetful]:
    """Run the proxy before a server."""
    proxy = Forgetful()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
            # With the caller's Host: the catalog tells its own address by it.
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            told = answer.read()
            connection.close()
            if self.command == "POST" and proxy.times and self.path.endswith(proxy.word):
                proxy.times -= 1
                proxy.swallowed.append(answer.status)
                self.close_connection = True
                if proxy.instead is not None:
                    self.send_response(proxy.instead)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(told)

        do_GET = do_POST = do_HEAD = do_DELETE = do_PUT = pass_on  # noqa: N815 - the library's names

        def log_message(self, format: str, *words: object) -> None:
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


@pytest.mark.parametrize("instead", [None, 502, 503, 504], ids=["connection cut", "502", "503", "504"])
def test_the_commit_whose_reply_was_lost_stays_and_stands_once(
    spark: SparkSession, nessie: RestCatalog, tmp_path: Path, instead: int | None
) -> None:
    environment = nessie.new_branch()
    with forgetful(nessie.address) as proxy:
        through = environment["OHLCV_CATALOG_URI"].replace(nessie.address, f"http://127.0.0.1:{proxy.port}")
        harness = Harness(spark, tmp_path / "home", {**environment, "OHLCV_CATALOG_URI": through})
        harness.load(trade(NOON - 2 * HOUR + timedelta(minutes=n), f"{100 + n % 7}") for n in range(120))
        harness.build("1m", NOON - 2 * HOUR, NOON - HOUR)
        # An update of a day that has candles: here Iceberg would delete what it thinks did not land.
        proxy.swallow("/gold_ohlcv_1m", instead)
        report = harness.build("1m", NOON - 2 * HOUR, NOON)
        assert proxy.swallowed == [200]
        assert harness.candles("1m") == harness.expected("1m", (NOON - 2 * HOUR, NOON)).candles
        assert report["snapshot"] == harness.snapshots("1m")[-1]
        assert report["candles"]["inserted"] == 60
        # The rerun finds everything as it should be.
        assert harness.build("1m", NOON - 2 * HOUR, NOON)["snapshot"] is None
