"""A file system of a few megabytes that a test can fill."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

FILLER = "filler"
_BLOCK = 4096


@dataclass(frozen=True)
class SmallDisk:
    """A mounted file system in memory."""

    folder: Path

    def fill(self, free: int = 0) -> None:
        """Write a file after which this many bytes are left, in blocks of 4096 bytes."""
        (self.folder / FILLER).unlink(missing_ok=True)
        missing = shutil.disk_usage(self.folder).free - free
        with (self.folder / FILLER).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(_BLOCK, missing // _BLOCK * _BLOCK))

    def empty(self) -> None:
        """Remove that file."""
        (self.folder / FILLER).unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount a disk on a folder. Skip the test where this account may not mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk needs root: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
