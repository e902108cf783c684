"""Servers that answer what no catalog, Airflow or Spark master answers."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_HTTP = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"


def _http(
    body: bytes, kind: bytes = b"application/json", status: bytes = b"200 OK", length: int | None = None
) -> bytes:
    return _HTTP % (status, kind, len(body) if length is None else length) + body


ANSWERS = {
    "html": _http(b"<html><body>Welcome to nginx!</body></html>", b"text/html"),
    "object": _http(b"{}"),
    "list": _http(b"[]"),
    "null": _http(b"null"),
    "text": _http(b'"ok"'),
    "nested": _http(b"[" * 100_000),
    "truncated": _http(b'{"workers": [', length=1000),
    "binary": _http(bytes(range(256))),
    "numbers": _http(b'{"workers": 7, "defaults": 3, "overrides": [], "dags": {"a": 1}, "access_token": 5}'),
    "error": _http(b"<h1>Internal Server Error</h1>", b"text/html", b"500 Internal Server Error"),
    "denied": _http(b"{}", status=b"401 Unauthorized"),
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "status": b"HTTP/1.1 abc\r\n\r\n",
    "closed": b"",
}


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


@contextmanager
def junk_servers() -> Iterator[dict[str, int]]:
    """Run a server for each answer, and return their ports."""
    with ExitStack() as stack:
        ports = {}
        for name, answer in ANSWERS.items():
            server = stack.enter_context(_Server(("127.0.0.1", 0), _handler(answer)))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            ports[name] = server.server_address[1]
        yield ports


def _handler(answer: bytes) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(2)
            try:
                if answer.startswith(b"HTTP"):
                    self.request.recv(65536)
                self.request.sendall(answer)
            except OSError:
                pass  # the client has given up

    return Handler
