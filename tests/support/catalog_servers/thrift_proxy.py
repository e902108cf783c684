"""TCP proxy in front of a Hive Metastore that can lose the reply to a call."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ohlcv.spark.processes import HOST


@dataclass
class ThriftProxy:
    """A running proxy. It relays everything until `drop_next` is called."""

    server_port: int
    port: int = 0
    dropped: int = 0
    _method: bytes = b""

    @property
    def address(self) -> str:
        return f"thrift://{HOST}:{self.port}"

    def drop_next(self, method: str) -> None:
        """Close the connection instead of relaying the next reply to a method."""
        self._method = method.encode()

    def takes_drop(self, request: bytes) -> bool:
        """Return whether the reply to this request must be lost. Thrift sends the name of the method in clear text."""
        if self._method and self._method in request:
            self._method = b""
            return True
        return False


@contextmanager
def thrift_proxy(server_port: int) -> Iterator[ThriftProxy]:
    """Run a proxy in front of a port of the loopback address."""
    proxy = ThriftProxy(server_port)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            lost = threading.Event()
            with socket.create_connection((HOST, proxy.server_port)) as server:
                replies = threading.Thread(target=self.relay_replies, args=(server, lost))
                replies.start()
                with suppress(OSError):
                    while request := self.request.recv(65536):
                        if proxy.takes_drop(request):
                            lost.set()
                        server.sendall(request)
                with suppress(OSError):
                    server.shutdown(socket.SHUT_WR)
                replies.join()

        def relay_replies(self, server: socket.socket, lost: threading.Event) -> None:
            with suppress(OSError):
                while reply := server.recv(65536):
                    # The reply shows that the server has carried out the call.
                    if lost.is_set():
                        proxy.dropped += 1
                        break
                    self.request.sendall(reply)
            with suppress(OSError):
                self.request.shutdown(socket.SHUT_RDWR)

    server = socketserver.ThreadingTCPServer((HOST, 0), Handler)
    server.daemon_threads = True
    proxy.port = int(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
