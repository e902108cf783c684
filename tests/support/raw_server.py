"""TCP server that sends fixed bytes, in place of a program that is not the expected one."""

from __future__ import annotations

import socketserver
from collections.abc import Iterator
from contextlib import contextmanager

from ohlcv.spark.processes import HOST
from support.server_thread import running


def http_response(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    """Return an HTTP response, by default with the correct length."""
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {size}\r\n\r\n".encode() + body


@contextmanager
def raw_server(answer: bytes, *, endless: bool = False) -> Iterator[str]:
    """Run a server that sends `answer` to every connection and closes it. Yield its HTTP address.

    With `endless` it repeats the last byte until the client closes the connection.
    """

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            try:
                self.request.sendall(answer)
                while endless:
                    self.request.sendall(answer[-1:] * 65_536)
            except OSError:
                return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with running(Server((HOST, 0), Handler)) as address:
        yield address
