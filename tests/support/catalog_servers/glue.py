"""The Glue API of moto as a local server."""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ohlcv.spark.processes import HOST, free_port, start, stop
from support.processes import wait_for
from support.stores import accepts_connections


@dataclass(frozen=True)
class GlueServer:
    """A running server. It accepts every key."""

    address: str

    def clear(self) -> None:
        """Remove all databases and tables."""
        request = urllib.request.Request(f"{self.address}/moto-api/reset", b"", method="POST")
        urllib.request.urlopen(request, timeout=30).close()


@contextmanager
def glue_server(folder: Path) -> Iterator[GlueServer]:
    """Run the server. Its log is glue.log."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "--host", HOST, "--port", str(port)]
    process = start(command, dict(os.environ), folder / "glue.log")
    try:
        wait_for(lambda: accepts_connections(port) or process.poll() is not None, f"moto, see {folder}/glue.log")
        assert process.poll() is None, (folder / "glue.log").read_text()
        yield GlueServer(f"http://{HOST}:{port}")
    finally:
        stop(process)
