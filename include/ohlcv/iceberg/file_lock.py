"""File lock between the processes of one machine."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from ohlcv.model.errors import OhlcvError


class FileLock:
    """A lock on a file, which ends with the process that holds it. The file itself remains.

    If the file is deleted, another process locks a new one of the same name. So a lock counts only while its file is
    the one at the path.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def try_lock(self) -> bool:
        """Take the lock, and return False if another process holds it."""
        while True:
            file = self._open()
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError as error:
                raise OhlcvError(
                    f"the lock {self._path} failed ({error.strerror}): put the catalog on a disk that supports locks"
                ) from None
            # The file may have been deleted between opening and locking.
            if self.find_loss() is None:
                file.truncate(0)
                file.write(f"{os.getpid()}\n")
                file.flush()
                return True

    def holder(self) -> str:
        """Return which process holds the lock."""
        return f"process {os.pread(self._open().fileno(), 100, 0).decode().strip() or 'unknown'}"

    def find_loss(self) -> str | None:
        """Return how the lock was lost, None if this process holds it."""
        assert self._file is not None
        own = os.fstat(self._file.fileno())
        try:
            current = os.stat(self._path)
        except OSError as error:
            return f"{self._path}: {error.strerror}"
        return None if os.path.samestat(own, current) else f"{self._path} was replaced by another file"

    def _open(self) -> IO[str]:
        """Return the file at the path, which another process may have replaced since the last call."""
        if self._file is not None and self.find_loss() is None:
            return self._file
        try:
            # Python opens files close-on-exec, so no child process keeps the lock after its holder has died.
            file = self._path.open("a+")
        except OSError as error:
            raise OhlcvError(
                f"the lock {self._path} is not writable ({error.strerror}): grant access to the folder"
            ) from None
        if self._file is not None:
            self._file.close()
        self._file = file
        return file
