"""TCP server that sends fixed bytes, in place of a program that is not the expected one."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ohlcv.spark.processes import HOST


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

    server = Server((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
