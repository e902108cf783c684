"""The `ohlcv` command line in an empty folder, in a new process or in this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ohlcv.cli.main import main

OHLCV = Path(sys.executable).with_name("ohlcv")
# A catalog in SQLite has these files only while a connection is open.
SQLITE_FILES = ("-wal", "-shm")

Result = subprocess.CompletedProcess[str]


class CommandLine(ABC):
    """A shell in an empty folder. Keyword arguments of its methods are settings (OHLCV_… variables)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"

    @abstractmethod
    def run(self, *arguments: str, **settings: str) -> Result:
        """Run `ohlcv` with arguments."""

    def succeed(self, *arguments: str, **settings: str) -> str:
        """Run a command that must succeed, and return its stdout."""
        result = self.run(*arguments, **settings)
        assert result.returncode == 0, result.stderr
        assert "Traceback" not in result.stderr
        return result.stdout

    def fail(self, code: int, *arguments: str, **settings: str) -> str:
        """Run a command that must fail with an exit code and one line of error, and return that message."""
        result = self.run(*arguments, **settings)
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stdout + result.stderr
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, result.stderr
        assert result.stderr.splitlines()[-1] == errors[0]
        assert result.stdout == ""
        return errors[0].removeprefix("error: ")

    def files(self) -> set[str]:
        """Return the paths of all files in the folder."""
        paths = {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}
        return {path for path in paths if not path.endswith(SQLITE_FILES)}


class ColdCommandLine(CommandLine):
    """Runs every command in a new process."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("OHLCV_")}
        self.environment["OHLCV_HOME"] = str(self.home)

    def run(self, *arguments: str, **settings: str) -> Result:
        return subprocess.run(
            [OHLCV, *arguments],
            cwd=self.folder,
            env={**self.environment, **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,  # five spark-submits on a busy machine
            check=False,
        )


class WarmCommandLine(CommandLine):
    """Runs every command in this process, which saves seconds of imports per command."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(folder)
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *arguments: str, **settings: str) -> Result:
        self._capsys.readouterr()
        with self._monkeypatch.context() as context, _unchanged_signal_handlers():
            context.chdir(self.folder)
            for name, value in {"OHLCV_HOME": str(self.home), **settings}.items():
                context.setenv(name, value)
            with pytest.raises(SystemExit) as exit_info:
                main([*arguments])
        code = exit_info.value.code
        assert isinstance(code, int)
        return Result([*arguments], code, *self._capsys.readouterr())


@contextmanager
def _unchanged_signal_handlers() -> Iterator[None]:
    # Every command installs handlers.
    handlers = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
