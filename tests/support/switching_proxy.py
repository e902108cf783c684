"""TCP proxy whose connections can stop answering without being closed, and whose server can be replaced."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from ohlcv.spark.processes import HOST


class SwitchingProxy:
    """A running proxy. It relays everything until a connection is stalled."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self._relaying = threading.Event()
        self._relaying.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        """Swallow what the present connections send, and keep them open. New connections are relayed."""
        self._relaying.clear()
        # Connections that begin later get an event of their own.
        self._relaying = threading.Event()
        self._relaying.set()

    def stall_all(self) -> None:
        """Swallow what all connections send, also the new ones."""
        self._relaying.clear()

    def close(self) -> None:
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                try:
                    server = socket.create_connection((HOST, self.server_port))
                except OSError:
                    client.close()
                    continue
                self._sockets.append(server)
                relaying = self._relaying
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=_relay, args=(source, target, relaying), daemon=True).start()


def _relay(source: socket.socket, target: socket.socket, relaying: threading.Event) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            if relaying.is_set():
                target.sendall(data)
        if relaying.is_set():
            target.shutdown(socket.SHUT_WR)
