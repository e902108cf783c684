"""End a driver whose parents are gone.

A task that is killed outright leaves its spark-submit running, and one that is killed politely takes the JVM with
it but leaves the Python driver: both would go on writing while the retry starts. So the driver watches both.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

_POLL_SECONDS = 0.5


def watch_parents() -> None:
    """Watch the JVM that started this driver, and whoever started the JVM; end with either."""
    jvm = os.getppid()
    threading.Thread(target=_watch, args=(jvm, _parent_of(jvm)), name="lifeline", daemon=True).start()


def _watch(jvm: int, starter: int | None) -> None:
    while os.getppid() == jvm:
        if starter is not None and _parent_of(jvm) != starter:
            # Executors end by themselves when their driver's JVM does.
            os.kill(jvm, signal.SIGKILL)
            break
        time.sleep(_POLL_SECONDS)
    os._exit(128 + signal.SIGKILL)


def _parent_of(process: int) -> int | None:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    # The name before it, in brackets, may hold spaces and brackets of its own.
    return int(stat.rpartition(")")[2].split()[1])
