"""TCP proxy in front of PostgreSQL that can lose the acknowledgement of a commit.

The proxy speaks version 3 of PostgreSQL's protocol. After a first message without a type, every message in both
directions is a type byte, a length that includes itself, and a body.
https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self

from ohlcv.spark.processes import HOST

# Encryption requests precede the first message. The proxy must read the traffic, so it declines them itself.
ENCRYPTION_REQUESTS = (80877103, 80877104)
# Messages of a client that end a batch. The server ends its reply to each batch with one ReadyForQuery.
BATCH_ENDS = (b"Q", b"S", b"F")
COMMAND_COMPLETE = b"C"
READY_FOR_QUERY = b"Z"
# Status in ReadyForQuery for: no transaction is open, so acknowledged statements are committed.
IDLE = b"I"


@dataclass
class _Trigger:
    """Statement and command tag whose acknowledgement the proxy loses, and how often."""

    pattern: bytes
    tag: bytes
    times: int
    refuse_connections: bool


class DroppingProxy:
    """A running proxy. It relays everything until `arm` is called."""

    def __init__(self, server_port: int, server_host: str = HOST) -> None:
        self.host = HOST
        self.dropped = 0
        self._server_address = (server_host, server_port)
        self._changed = threading.Condition()
        self._trigger: _Trigger | None = None
        self._connections: set[_Connection] = set()
        self._closed = False
        self._refusing = False
        self._listener = _Listener((HOST, 0), self._serve)
        self.port = int(self._listener.server_address[1])
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def arm(
        self, pattern: bytes, *, tag: bytes = b"UPDATE 1", times: int = 1, refuse_connections: bool = False
    ) -> None:
        """Lose the next acknowledgement of a statement that contains the pattern.

        Only an acknowledgement with the tag `tag` outside of a transaction is lost, because only that one confirms a
        commit. Any other reply (UPDATE 0, an error, an UPDATE before its COMMIT) is delivered, and the proxy stays
        armed. For a client that sends its own COMMIT, use b"COMMIT" as pattern and tag.
        With `refuse_connections` the proxy then refuses every connection until `accept` is called, so that no client
        can find out whether the statement was committed.
        """
        with self._changed:
            self._trigger = _Trigger(pattern, tag, times, refuse_connections)

    def disarm(self) -> None:
        """Relay every acknowledgement from now on."""
        with self._changed:
            self._trigger = None

    def accept(self) -> None:
        """Accept connections again."""
        with self._changed:
            self._refusing = False

    def wait_dropped(self, timeout: float) -> bool:
        """Wait until an acknowledgement was lost. Return False on timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self.dropped > 0, timeout)

    def close(self) -> None:
        """Stop listening and close every connection."""
        self._listener.shutdown()
        self._thread.join()
        with self._changed:
            self._closed = True
            connections = list(self._connections)
        for connection in connections:
            connection.disconnect()
        # Waits for the threads of the connections.
        self._listener.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _matches(self, statement: bytes) -> bool:
        with self._changed:
            return self._trigger is not None and self._trigger.pattern in statement

    def _consume_trigger(self, tags: list[bytes]) -> bool:
        """Return whether this acknowledgement must be lost, and count it."""
        with self._changed:
            trigger = self._trigger
            if trigger is None or trigger.tag not in tags:
                return False
            trigger.times -= 1
            if trigger.times == 0:
                self._trigger = None
                self._refusing = trigger.refuse_connections
            self.dropped += 1
            connections = list(self._connections) if self._refusing else []
            self._changed.notify_all()
        for connection in connections:
            connection.disconnect()
        return True

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._server_address, timeout=10)
        except OSError:
            return  # The client sees a closed connection, as it would without a proxy.
        server.settimeout(None)
        with server:
            connection = _Connection(client, server, self)
            with self._changed:
                self._connections.add(connection)
                closed = self._closed or self._refusing
            try:
                # Connections that were added after close() or a refusal took its list are closed here.
                if not closed:
                    connection.relay()
            finally:
                with self._changed:
                    self._connections.remove(connection)


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = False
    allow_reuse_address = True
    # Many clients can connect at once. With a short queue they would wait one second for a retry.
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], serve: Any) -> None:
        self.serve = serve
        super().__init__(address, socketserver.BaseRequestHandler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.serve(request)


class _Connection:
    """Connection of one client, relayed by two threads, one for each direction."""

    def __init__(self, client: socket.socket, server: socket.socket, proxy: DroppingProxy) -> None:
        self._client = client
        self._server = server
        self._proxy = proxy
        # Numbers of the batches whose reply may have to be lost. Batch 0 is the login. A number is added before its
        # statement is sent, so that it is known before any part of the reply arrives.
        self._watched: set[int] = set()
        for side in (client, server):
            # Messages are sent one by one. Nagle's algorithm would delay each until the previous one is acknowledged.
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def relay(self) -> None:
        """Relay until one side disconnects or the acknowledgement is lost."""
        replies = threading.Thread(target=self._relay_until_disconnect, args=(self._relay_replies,))
        replies.start()
        self._relay_until_disconnect(self._relay_requests)
        replies.join()

    def disconnect(self) -> None:
        """Shut down both sockets. A thread that reads from one of them wakes up."""
        for side in (self._server, self._client):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _relay_until_disconnect(self, relay: Any) -> None:
        try:
            with suppress(OSError, EOFError):
                relay()
        finally:
            self.disconnect()

    def _relay_requests(self) -> None:
        with self._client.makefile("rb") as stream:
            self._relay_first_message(stream)
            batch = 1
            statements: dict[bytes, bytes] = {}
            portals: dict[bytes, bytes] = {}
            while True:
                kind, message = _read_message(stream)
                if self._proxy._matches(_executed_statement(kind, message[5:], statements, portals)):
                    self._watched.add(batch)
                if kind in BATCH_ENDS:
                    batch += 1
                self._server.sendall(message)

    def _relay_first_message(self, stream: IO[bytes]) -> None:
        while True:
            start = _read_exactly(stream, 8)
            length, code = struct.unpack("!ii", start)
            if code not in ENCRYPTION_REQUESTS:
                self._server.sendall(start + _read_exactly(stream, length - 8))
                return
            self._client.sendall(b"N")

    def _relay_replies(self) -> None:
        batch = 0
        held_back: list[bytes] = []
        tags: list[bytes] = []
        with self._server.makefile("rb") as stream:
            while True:
                kind, message = _read_message(stream)
                if batch not in self._watched:
                    self._client.sendall(message)
                else:
                    held_back.append(message)
                    if kind == COMMAND_COMPLETE:
                        tags.append(message[5:-1])
                    elif kind == READY_FOR_QUERY:
                        if message[5:] == IDLE and self._proxy._consume_trigger(tags):
                            return
                        self._client.sendall(b"".join(held_back))
                        held_back, tags = [], []
                if kind == READY_FOR_QUERY:
                    batch += 1


def _executed_statement(kind: bytes, body: bytes, statements: dict[bytes, bytes], portals: dict[bytes, bytes]) -> bytes:
    """Return the SQL that a message executes, b"" if none. Prepared statements are stored by name.

    JDBC sends the SQL with the first five executions. Later executions send only the name of the statement.
    """
    if kind == b"Q":
        return body.rstrip(b"\0")
    if kind == b"P":  # Parse: statement name, SQL
        name, sql, _ = body.split(b"\0", 2)
        statements[name] = sql
    elif kind == b"B":  # Bind: portal name, statement name
        portal, name, _ = body.split(b"\0", 2)
        portals[portal] = statements.get(name, b"")
    elif kind == b"E":  # Execute: portal name
        return portals.get(body.split(b"\0", 1)[0], b"")
    return b""


def _read_message(stream: IO[bytes]) -> tuple[bytes, bytes]:
    """Read a message and return its type and all its bytes."""
    start = _read_exactly(stream, 5)
    (length,) = struct.unpack("!i", start[1:])
    return start[:1], start + _read_exactly(stream, length - 4)


def _read_exactly(stream: IO[bytes], count: int) -> bytes:
    read = stream.read(count)
    if len(read) < count:
        raise EOFError
    return read
