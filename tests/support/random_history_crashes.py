"""Crashes of runs at named points: an error that no code handles, as the end of the process would be.

Real processes are killed in tests/crash_recovery.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest.mock import patch

from spark_jobs.iceberg import staging
from spark_jobs.jobs import build_candles, publication, rebuild, reprocess_day
from support.random_history_steps import Crash


class CrashError(BaseException):
    """A crash. It is no Exception, so that no cleanup for errors runs."""


@dataclass(frozen=True)
class _Point:
    module: ModuleType
    function: str
    is_after: bool = False


_POINTS = {
    "while a build is planned": _Point(build_candles, "plan_build"),
    "while a day is planned": _Point(reprocess_day, "plan_build"),
    "while candles are computed": _Point(rebuild, "raise_on_violation"),
    "before the candidate": _Point(publication, "_stage"),
    "after the candidate": _Point(publication, "_stage", is_after=True),
    "during the audit": _Point(publication, "_audit"),
    "before the publication": _Point(staging, "publish"),
    "after the publication": _Point(staging, "publish", is_after=True),
    "before the commit": _Point(publication, "_commit"),
    "after the commit": _Point(publication, "_commit", is_after=True),
    "after the checkpoint": _Point(publication, "record_checkpoint", is_after=True),
}
_COMMON = tuple(name for name in _POINTS if not name.startswith("while a "))
BUILD_POINTS = ("while a build is planned", *_COMMON)
REPROCESS_POINTS = ("while a day is planned", *_COMMON)
# Crashes after which the run has taken effect.
EFFECTIVE = frozenset(("after the publication", "after the commit", "after the checkpoint"))


@contextmanager
def crashing(crash: Crash | None) -> Iterator[list[str]]:
    """Crash in the block at a point. Yield a list that has an entry if the run crashed there."""
    crashed: list[str] = []
    if crash is None:
        yield crashed
        return
    point = _POINTS[crash.point]
    original = getattr(point.module, point.function)
    calls = 0

    def replacement(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != crash.call:
            return original(*arguments, **options)
        if point.is_after:
            original(*arguments, **options)
        raise CrashError(crash.point)

    with patch.object(point.module, point.function, replacement):
        try:
            yield crashed
        except CrashError as error:
            crashed.append(str(error))
