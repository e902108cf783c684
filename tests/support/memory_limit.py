"""Control group whose processes the kernel kills when together they use more memory than its limit."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path("/sys/fs/cgroup")
# Files with the limit in versions 2 and 1.
LIMITS = ("memory.max", "memory.limit_in_bytes")


@contextmanager
def memory_limit(megabytes: int) -> Iterator[list[str]]:
    """Yield the beginning of a command that runs a program within the limit. Skip the test where that is impossible."""
    parent = ROOT / "memory" if (ROOT / "memory").is_dir() else ROOT
    group = parent / f"ohlcv-test-{secrets.token_hex(4)}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"a limit of memory needs root and control groups: {error}")
    try:
        limits = [group / name for name in LIMITS if (group / name).exists()]
        if not limits or not os.access(limits[0], os.W_OK):
            pytest.skip(f"{parent} does not control memory")
        limits[0].write_text(str(megabytes * 2**20))
        yield ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs")]
    finally:
        group.rmdir()
