"""A real `ohlcv serve` with the token of the tests."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Self

from ohlcv.spark.processes import descendants
from support.candle_service import TOKEN
from support.command_line import OHLCV, ColdCommandLine


class Serving:
    """A running service. Its standard input is a pipe."""

    def __init__(self, folder: Path, *options: str) -> None:
        tokens = folder / "tokens"
        tokens.write_text(f"client {TOKEN}\n")
        tokens.chmod(0o600)
        environment = ColdCommandLine(folder).environment | {"OHLCV_API_TOKENS": str(tokens)}
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [OHLCV, "serve", *options],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip().removeprefix("candle service: ")
        assert self.address, self.log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def worker(self) -> int:
        [pid] = descendants(self.process.pid)
        return pid

    def end(self) -> int:
        """Wait for the end of the service and return its exit code."""
        return self.process.wait(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Without effect after the end. The worker ends with its parent.
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
