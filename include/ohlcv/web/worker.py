"""Worker process of the candle service: `python -m ohlcv.web.worker LISTENER CHANNEL`.

The arguments are file descriptors from the supervisor: the listening socket, and one end of a socket pair. The worker
sends one byte per second over the pair from its event loop, and ends at once when the other end is closed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
import time

import uvicorn

from ohlcv.config.settings import load_settings
from ohlcv.web.app import create_app
from ohlcv.web.data import CandleData
from ohlcv.web.http_protocol import HEAD_SECONDS, LimitedProtocol
from ohlcv.web.service import Service

ACCESS_LOG = "--access-log"
HEARTBEAT_SECONDS = 1.0
# Heartbeats: the event loop runs; it runs, but some work is stuck.
ALIVE, OVERRUN = b".", b"!"
GRACE_SECONDS = 10
MAX_CONNECTIONS = 1_000


class OneLineFormatter(logging.Formatter):
    """Format of the log: time in UTC, level and message in one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Instead of a traceback it has only the error."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        line = f"{moment} {record.levelname.lower()}: {record.getMessage().strip()}"
        return f"{line}: {record.exc_info[1]!r}" if record.exc_info else line


def configure_log() -> None:
    """Write the log to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLineFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("ohlcv").setLevel(logging.INFO)
    logging.getLogger("uvicorn.access").setLevel(logging.INFO)


def end_with_supervisor(channel: socket.socket) -> None:
    """End this process when the supervisor has closed the other end of the pair, also by being killed."""

    def wait() -> None:
        try:
            channel.recv(1)
        finally:
            os._exit(1)

    threading.Thread(target=wait, name="supervisor watchdog", daemon=True).start()


async def send_heartbeats(channel: socket.socket, service: Service) -> None:
    """Send one byte per second."""
    while True:
        channel.send(OVERRUN if service.overrun() else ALIVE)
        await asyncio.sleep(HEARTBEAT_SECONDS)


async def serve(listener: socket.socket, channel: socket.socket, access_log: bool) -> None:
    """Serve until SIGTERM. The first heartbeat says that requests are accepted."""
    settings = load_settings()
    service = Service(settings, CandleData(settings))
    config = uvicorn.Config(
        create_app(service),
        http=LimitedProtocol,
        ws="none",
        log_config=None,
        access_log=access_log,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=int(HEAD_SECONDS),
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve([listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    heartbeats = asyncio.ensure_future(send_heartbeats(channel, service))
    await serving
    heartbeats.cancel()


def main() -> None:
    """Run the worker."""
    listener, channel = (socket.socket(fileno=int(text)) for text in sys.argv[1:3])
    configure_log()
    end_with_supervisor(channel)
    asyncio.run(serve(listener, channel, ACCESS_LOG in sys.argv[3:]))
    # Not by the interpreter: it would wait for threads whose work is stuck.
    os._exit(0)


if __name__ == "__main__":
    main()
