"""HTTP or HTTPS gateway in front of a REST catalog: checks tokens and signatures, vends keys, drops responses."""

from __future__ import annotations

import json
import ssl
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

from ohlcv.spark.processes import HOST
from support.catalog_servers.forwarding import forward
from support.catalog_servers.issuer import Issuer
from support.catalog_servers.signatures import Signatures
from support.catalog_servers.vended_keys import KeyVendor
from support.server_thread import running

# Headers that belong to one connection, or that this gateway sets itself.
OWN_HEADERS = ("transfer-encoding", "content-length", "connection")


@dataclass
class Gateway:
    """A running gateway. Its behaviour can change at any time."""

    backend: str
    address: str = ""
    # None: no token is needed.
    issuer: Issuer | None = None
    # None: requests need no signature.
    signatures: Signatures | None = None
    # None: the catalog vends no keys.
    vendor: KeyVendor | None = None
    # Clients that may not change anything.
    read_only: set[str] = field(default_factory=set)
    # Number of rejected requests by reason, and of requests by client.
    rejected: Counter[str] = field(default_factory=Counter)
    clients: Counter[str] = field(default_factory=Counter)
    # Number of requests for new S3 keys.
    renewals: int = 0
    # Status of every response that was dropped.
    dropped: list[int] = field(default_factory=list)
    _path_ending: str = ""
    _action: str = ""
    _drops_left: int = 0
    _replacement: int | None = None

    def drop_next(self, path_ending: str, replacement: int | None, action: str = "") -> None:
        """Drop the response to the next POST of a path: close the connection, or send this status instead.

        `action` is the header in which AWS's APIs name the action, because they have one path only.
        """
        self._path_ending, self._action, self._replacement = path_ending, action, replacement
        self._drops_left = 1

    def rejection(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str] | None:
        """Return status and reason if a request is not permitted."""
        if self.signatures is not None and (problem := self.signatures.find_problem(method, path, headers, body)):
            return 403, problem
        if self.issuer is None:
            return None
        try:
            client = self.issuer.client_of((headers.get("Authorization") or "").removeprefix("Bearer "))
        except jwt.ExpiredSignatureError:
            return 401, "the token has expired"
        except jwt.PyJWTError as error:
            return 401, f"no valid token: {error}"
        self.clients[client] += 1
        if client in self.read_only and method not in ("GET", "HEAD"):
            return 403, f"the client may not use {method}"
        return None

    def takes_drop(self, method: str, path: str, action: str, status: int) -> bool:
        """Return whether this response must be dropped, and count it."""
        is_commit = method == "POST" and path.endswith(self._path_ending) and action == self._action
        if not (self._drops_left and is_commit):
            return False
        self._drops_left -= 1
        self.dropped.append(status)
        return True

    @property
    def replacement(self) -> int | None:
        return self._replacement


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Many clients can connect at once. With a short queue they would wait one second for a retry.
    request_queue_size = 64

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        super().__init__((HOST, 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def relay(self) -> None:
        gateway = self.server.gateway
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        rejection = gateway.rejection(self.command, self.path, dict(self.headers), body)
        if rejection is not None:
            status, reason = rejection
            gateway.rejected[reason] += 1
            kind = "NotAuthorizedException" if status == 401 else "ForbiddenException"
            self._answer(status, json.dumps({"error": {"message": reason, "type": kind, "code": status}}).encode())
        elif gateway.vendor is not None and self.command == "GET" and self.path.endswith("/credentials"):
            gateway.renewals += 1
            self._answer(200, json.dumps({"storage-credentials": gateway.vendor.credentials()}).encode())
        else:
            self._relay_to_backend(gateway, body)

    def _relay_to_backend(self, gateway: Gateway, body: bytes) -> None:
        status, headers, content = self._forward(gateway.backend, body)
        if gateway.takes_drop(self.command, self.path, self.headers.get("X-Amz-Target") or "", status):
            self.close_connection = True
            if gateway.replacement is not None:
                self._answer(gateway.replacement, b"")
            return
        delegated = "vended-credentials" in (self.headers.get("X-Iceberg-Access-Delegation") or "")
        if gateway.vendor is not None and delegated and status == 200:
            content = gateway.vendor.add_to(content, self.path)
        self._answer(status, content, headers)

    def _forward(self, backend: str, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        # The Host header is relayed too: Nessie returns its own address from it. No compression: answers are changed.
        headers = {name: value for name, value in self.headers.items() if name.lower() != "accept-encoding"}
        return forward(backend, self.command, self.path, body, {**headers, "Accept-Encoding": "identity"})

    def _answer(
        self, status: int, content: bytes, headers: Iterable[tuple[str, str]] = (("Content-Type", "application/json"),)
    ) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in OWN_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_HEAD = do_DELETE = do_PUT = relay  # noqa: N815 - names of the library

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def rest_gateway(
    backend: str,
    *,
    issuer: Issuer | None = None,
    signatures: Signatures | None = None,
    vendor: KeyVendor | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Gateway]:
    """Run a gateway in front of the REST catalog with the address `backend`."""
    gateway = Gateway(backend, issuer=issuer, signatures=signatures, vendor=vendor)
    server = _Server(gateway)
    if tls is not None:
        # The handshake runs in the thread of the connection, so that a slow client blocks no other.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with running(server) as address:
        gateway.address = address if tls is None else address.replace("http://", "https://")
        yield gateway
