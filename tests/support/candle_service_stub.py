"""HTTP server in place of the candle service: it answers with the request that it received.

As a program it listens on the Unix socket of its last argument and ends with its standard input.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

ETAG = '"abc"'
BODY_BYTES = 300_000


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # `/wait` answers when it is set.
    released = threading.Event()
    # Paths that were requested.
    seen: list[str]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.seen.append(path)
        if path == "/health":
            self._answer(200, b"ok")
        elif path == "/etag":
            matches = self.headers["If-None-Match"] == ETAG
            self._answer(304 if matches else 200, b"" if matches else b"candles", {"ETag": ETAG})
        elif path == "/wait":
            self.released.wait()
            self._answer(200, b"late")
        elif path == "/large":
            self._answer(200, b"x" * BODY_BYTES)
        elif path == "/drop":
            self.close_connection = True
        elif path == "/drop-once":
            self.close_connection = self.seen.count(path) == 1
            if not self.close_connection:
                self._answer(200, b"second")
        elif path == "/unauthorized":
            self._answer(401, b"")
        elif path == "/moved":
            self._answer(307, b"", {"Location": "http://elsewhere/"})
        else:
            extra = {"Access-Control-Allow-Origin": "*", "Set-Cookie": "a=b", "Content-Type": "application/json"}
            request: dict[str, Any] = {"path": self.path, "headers": dict(self.headers), "process": os.getpid()}
            self._answer(200, json.dumps(request).encode(), extra)

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def address_string(self) -> str:
        return "client"


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def main() -> None:
    Handler.seen = []
    server = UnixServer(sys.argv[-1], Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
