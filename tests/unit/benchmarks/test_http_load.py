"""Clients of the benchmark of the candle service, against a small HTTP server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.http_load import BROKEN, UNANSWERED, Load, execute, percentile, run_load
from ohlcv.model.errors import OhlcvError

pytestmark = pytest.mark.benchmarks
BODY = b"x" * 3_000_000
RELEASED = threading.Event()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Print nothing about connections that the clients have closed."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/broken":
            self.close_connection = True
            return
        if self.path == "/hang":
            RELEASED.wait()
        if self.headers["If-None-Match"] == "x":
            self.send_response(304)
            self.end_headers()
            return
        self.send_response(200)
        if self.path != "/without-length":
            self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    RELEASED.clear()
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        RELEASED.set()
        server.shutdown()
        thread.join()


def test_each_target_is_requested_once_by_a_process(port: int) -> None:
    found = run_load(Load("127.0.0.1", port, ["/a", "/b", "/c"], {}, clients=2))

    assert sorted(number for number, _, _ in found.rows) == [0, 1, 2]
    assert found.statuses() == {200: 3}
    assert found.bytes > 3 * len(BODY)
    assert len(found.milliseconds(200, 1)) == 1
    assert found.processor > 0


def test_clients_repeat_requests_until_the_end(port: int) -> None:
    found = execute(Load("127.0.0.1", port, ["/a"], {"If-None-Match": "x"}, clients=3, seconds=0.05))

    assert set(found.statuses()) == {304}
    with pytest.raises(OhlcvError, match="expected only answers with status 200"):
        found.require(200)


def test_broken_connections_and_missing_answers_are_counted(port: int) -> None:
    assert execute(Load("127.0.0.1", port, ["/broken", "/a"], {})).statuses() == {BROKEN: 1, 200: 1}
    assert execute(Load("127.0.0.1", port, ["/hang"], {}, seconds=0.01, grace=0.0)).statuses() == {UNANSWERED: 1}


def test_an_answer_without_a_length_is_an_error(port: int) -> None:
    with pytest.raises(OhlcvError, match="Content-Length"):
        execute(Load("127.0.0.1", port, ["/without-length"], {}))


def test_percentiles() -> None:
    assert percentile([float(number) for number in range(101)], 95) == 95
