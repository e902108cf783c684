"""Temporary folders of databases, which can be large: those of killed processes are removed by the next process.

A process that is killed, or that the watchdog of a job ends, removes nothing itself.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "ohlcv-"
# The process that uses a folder has a lock on this file in it, which ends with the process.
LOCK_NAME = "in-use.lock"
# A new folder is not locked yet.
MIN_AGE_SECONDS = 60.0


@contextmanager
def temporary_folder() -> Iterator[str]:
    """Create a temporary folder and remove it afterwards. Remove those of killed processes, too."""
    _remove_abandoned()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder, (Path(folder) / LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _remove_abandoned() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK_NAME}"):
        try:
            if time.time() - path.stat().st_mtime < MIN_AGE_SECONDS:
                continue
            with path.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.parent, ignore_errors=True)
        except OSError:
            # It is in use, of another user, or removed meanwhile.
            continue
