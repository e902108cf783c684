"""Control group whose processes the kernel kills when together they use more memory than its limit."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.processes import wait_for

ROOT = Path("/sys/fs/cgroup")
# Files with the limit in versions 2 and 1.
LIMITS = ("memory.max", "memory.limit_in_bytes")
# Files with the limit of swap, without which the kernel swaps out what exceeds the limit. Version 1 counts both.
SWAP_LIMITS = (("memory.swap.max", 0), ("memory.memsw.limit_in_bytes", 1))


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
        for name, share in SWAP_LIMITS:
            if (group / name).exists():
                (group / name).write_text(str(share * megabytes * 2**20))
        yield ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs")]
    finally:
        wait_for(lambda: _is_empty(group), "the processes of the group have ended")
        group.rmdir()


def _is_empty(group: Path) -> bool:
    """Kill the processes of a group. Return whether there were none."""
    left = (group / "cgroup.procs").read_text().split()
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    return not left
