"""S3 server that refuses expired keys: a proxy in front of moto, which accepts every key."""

from __future__ import annotations

import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ohlcv.spark.processes import HOST
from support.catalog_servers.forwarding import forward
from support.catalog_servers.moto import MotoServer, moto_server
from support.catalog_servers.vended_keys import SessionKeys
from support.processes import wait_for
from support.server_thread import running

# Headers that belong to one connection.
OWN_HEADERS = ("transfer-encoding", "connection", "expect", "server", "date")


@dataclass
class ExpiringStore:
    """A running server. It accepts the keys that its vendor has issued, and those of the catalog, which do not expire.

    It compares the name of the key and the session token, not the signature.
    """

    moto: MotoServer
    endpoint: str
    vendor: SessionKeys = field(init=False)
    access_key: str = field(default_factory=lambda: secrets.token_hex(8))
    secret_key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    # Number of refused requests by code, vended keys of accepted requests, and paths of the requests that were held.
    refused: Counter[str] = field(init=False)
    used: set[str] = field(init=False)
    held: list[str] = field(init=False)
    _part: str = ""

    def __post_init__(self) -> None:
        self.reset()

    def new_bucket(self) -> str:
        """Create an empty bucket and return its name."""
        return self.moto.new_bucket()

    def reset(self) -> None:
        """Reset the keys, their lifetime and all observations."""
        self.vendor = SessionKeys(self.endpoint)
        self.refused, self.used, self.held = Counter(), set(), []

    def hold_next(self, part: str) -> None:
        """Hold the next accepted request whose path has this part until all keys that exist then have expired."""
        self._part = part

    def accept(self, path: str, authorization: str, token: str) -> tuple[str, str] | None:
        """Return the code and the message with which a request is refused, None if it is accepted."""
        found = re.search(r"Credential=([^/]+)/", authorization)
        access_key = found[1] if found else ""
        if access_key == self.access_key:
            return None
        refusal = self.vendor.refusal(access_key, token)
        if refusal is not None:
            self.refused[refusal[0]] += 1
            return refusal
        self.used.add(access_key)
        if self._part and self._part in path:
            self._part = ""
            self.held.append(path)
            end = self.vendor.newest_end()
            wait_for(lambda: time.time() > end, "the end of the keys")
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    store: ExpiringStore

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def relay(self) -> None:
        body = self._body()
        token = self.headers.get("X-Amz-Security-Token") or ""
        refusal = self.server.store.accept(self.path, self.headers.get("Authorization") or "", token)
        if refusal is not None:
            code, message = refusal
            content = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            length = {"Content-Type": "application/xml", "Content-Length": str(len(content))}
            self._answer(403, length, content)
        else:
            self._answer(*self._forward(body))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # a trailer
        return body

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        address = self.server.store.moto.address
        status, received, content = forward(address, self.command, self.path, body, _relayed(dict(self.headers)))
        # The answer to HEAD has the length of the object.
        length = {} if self.command == "HEAD" else {"Content-Length": str(len(content))}
        return status, {**_relayed(dict(received)), **length}, content

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_HEAD = do_DELETE = do_PUT = relay  # noqa: N815 - names of the library

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def _relayed(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in OWN_HEADERS}


@contextmanager
def expiring_store(folder: Path) -> Iterator[ExpiringStore]:
    """Run the server. Moto's log is in the folder."""
    server = _Server()
    with moto_server(folder) as moto, running(server) as address:
        server.store = ExpiringStore(moto, address)
        yield server.store
