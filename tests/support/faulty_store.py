"""S3 server that can fail: a proxy in front of moto that delays, refuses or cuts requests from a chosen one on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from ohlcv.spark.processes import HOST
from support.catalog_servers.moto import MotoServer, moto_server
from support.catalog_servers.s3_relay import RelayHandler
from support.server_thread import running
from support.stores import REGION


class Fault(Enum):
    """What happens to a request."""

    # Answers of a store that is overloaded, and of one that denies access.
    OVERLOADED = (503, "SlowDown", "Please reduce your request rate.")
    DENIED = (403, "AccessDenied", "Access Denied")
    # The connection is closed without an answer.
    CUT = None
    # No answer until the fault ends.
    SILENT = ()


@dataclass(frozen=True)
class StoreRequest:
    """Method and path of a request."""

    method: str
    path: str


Matches = Callable[[StoreRequest], bool]


@dataclass
class FaultyStore:
    """A running server. It relays every request until `fail` is called, and accepts every key."""

    moto: MotoServer
    endpoint: str = ""
    # Seconds before each answer.
    delay: float = 0.0
    # Number of requests that failed.
    failed: int = 0
    _fault: Fault | None = None
    _matches: Matches | None = None
    _lasts: bool = False
    _left: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _healed: threading.Event = field(default_factory=threading.Event)

    def fail(self, fault: Fault, first: Matches, *, times: int | None = None) -> None:
        """Let the first matching request and all later ones fail; with `times` only so many matching requests."""
        with self._lock:
            self._fault, self._matches, self._lasts, self._left = fault, first, times is None, times or 1
            self._healed.clear()
            self.failed = 0

    def heal(self) -> None:
        """Relay every request from now on."""
        with self._lock:
            self._fault = self._matches = None
            self.delay = 0.0
        self._healed.set()

    def environment(self) -> dict[str, str]:
        """Return the settings of a warehouse in a new bucket of this store."""
        return {
            "OHLCV_WAREHOUSE": f"s3://{self.moto.new_bucket()}/candles",
            "OHLCV_S3_ENDPOINT": self.endpoint,
            "OHLCV_S3_REGION": REGION,
            "OHLCV_S3_ACCESS_KEY": "any",
            "OHLCV_S3_SECRET_KEY": "key-of-the-faulty-store",
        }

    def fault_of(self, request: StoreRequest) -> Fault | None:
        """Return the fault of a request, None if it is relayed."""
        with self._lock:
            if self._fault is None or (self._matches is not None and not self._matches(request)):
                return None
            if self._lasts:
                self._matches = None
            elif self._left == 0:
                return None
            else:
                self._left -= 1
            self.failed += 1
            return self._fault

    def wait_until_healed(self) -> None:
        """Wait until the fault ends."""
        self._healed.wait()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    store: FaultyStore

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)


class _Handler(RelayHandler):
    server: _Server

    def relay(self) -> None:
        store = self.server.store
        body = self.read_body()
        fault = store.fault_of(StoreRequest(self.command, unquote(self.path)))
        time.sleep(store.delay)
        if fault in (Fault.CUT, Fault.SILENT):
            if fault is Fault.SILENT:
                store.wait_until_healed()
            self.close_connection = True
        elif fault is not None:
            self.answer_error(*fault.value)
        else:
            self.answer(*self.forward(store.moto.address, body))


@contextmanager
def faulty_store(folder: Path) -> Iterator[FaultyStore]:
    """Run the server. Moto's log is in the folder."""
    server = _Server()
    with moto_server(folder) as moto, running(server) as address:
        server.store = FaultyStore(moto, address)
        try:
            yield server.store
        finally:
            server.store.heal()
