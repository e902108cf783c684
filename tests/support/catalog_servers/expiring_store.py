"""S3 server that refuses expired keys: a proxy in front of moto, which accepts every key."""

from __future__ import annotations

import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path

from ohlcv.spark.processes import HOST
from support.catalog_servers.moto import MotoServer, moto_server
from support.catalog_servers.s3_relay import RelayHandler
from support.catalog_servers.vended_keys import SessionKeys
from support.processes import wait_for
from support.server_thread import running


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


class _Handler(RelayHandler):
    server: _Server

    def relay(self) -> None:
        body = self.read_body()
        token = self.headers.get("X-Amz-Security-Token") or ""
        refusal = self.server.store.accept(self.path, self.headers.get("Authorization") or "", token)
        if refusal is not None:
            self.answer_error(403, *refusal)
        else:
            self.answer(*self.forward(self.server.store.moto.address, body))


@contextmanager
def expiring_store(folder: Path) -> Iterator[ExpiringStore]:
    """Run the server. Moto's log is in the folder."""
    server = _Server()
    with moto_server(folder) as moto, running(server) as address:
        server.store = ExpiringStore(moto, address)
        yield server.store
