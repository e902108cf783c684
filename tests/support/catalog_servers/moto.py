"""The APIs of AWS in moto as a local server: Glue and S3."""

from __future__ import annotations

import os
import secrets
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ohlcv.spark.processes import HOST, free_port, start, stop
from support.processes import wait_for
from support.stores import accepts_connections

PROGRAM = Path(__file__).with_name("moto_program.py")


@dataclass(frozen=True)
class MotoServer:
    """A running server. It accepts every key."""

    address: str

    def clear(self) -> None:
        """Remove all databases, tables and buckets."""
        self._send("moto-api/reset", "POST")

    def new_bucket(self) -> str:
        """Create an empty bucket and return its name."""
        name = f"bucket-{secrets.token_hex(4)}"
        self._send(name, "PUT")
        return name

    def _send(self, path: str, method: str) -> None:
        request = urllib.request.Request(f"{self.address}/{path}", b"", method=method)
        urllib.request.urlopen(request, timeout=30).close()


@contextmanager
def moto_server(folder: Path) -> Iterator[MotoServer]:
    """Run the server. Its log is moto.log."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    # -P: this module must not be imported instead of the package moto.
    command = [sys.executable, "-P", str(PROGRAM), "--host", HOST, "--port", str(port)]
    process = start(command, dict(os.environ), folder / "moto.log")
    try:
        wait_for(lambda: accepts_connections(port) or process.poll() is not None, f"moto, see {folder}/moto.log")
        assert process.poll() is None, (folder / "moto.log").read_text()
        yield MotoServer(f"http://{HOST}:{port}")
    finally:
        stop(process)
