"""Watchdog that ends a driver when one of its parent processes has ended.

A task killed with SIGKILL leaves its spark-submit process running. A task killed with SIGTERM ends the JVM but not the
Python driver. In both cases the old job would keep writing while the retry starts, so the driver watches both parents.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

_POLL_SECONDS = 0.5


def watch_parents() -> None:
    """Start a thread that ends this driver when its JVM ends or the process that started the JVM ends."""
    jvm = os.getppid()
    threading.Thread(target=_watch, args=(jvm, _parent_of(jvm)), name="parent-watchdog", daemon=True).start()


def _watch(jvm: int, starter: int | None) -> None:
    while os.getppid() == jvm:
        if starter is not None and _parent_of(jvm) != starter:
            # Executors end by themselves when the JVM of their driver ends.
            os.kill(jvm, signal.SIGKILL)
            break
        time.sleep(_POLL_SECONDS)
    os._exit(128 + signal.SIGKILL)


def _parent_of(process: int) -> int | None:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    # The process name in brackets comes first and may itself contain spaces and brackets.
    return int(stat.rpartition(")")[2].split()[1])
