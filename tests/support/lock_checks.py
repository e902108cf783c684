"""Actions of tests right after a job has checked that it holds the write lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ohlcv.iceberg.write_lock import AssertLockHeld, write_lock
from spark_jobs.jobs import build_candles


def after_lock_check(monkeypatch: pytest.MonkeyPatch, number: int, action: Callable[[], object]) -> list[int]:
    """Run an action once, after the first job's check of this number. Return a list to which each check adds 1.

    A build that the action starts takes the lock without further actions.
    """
    checks: list[int] = []
    done: list[bool] = []

    @contextmanager
    def watched(*arguments: Any) -> Iterator[AssertLockHeld]:
        with write_lock(*arguments) as assert_lock_held:

            def checked() -> None:
                assert_lock_held()
                if done:
                    return
                checks.append(1)
                if len(checks) == number:
                    done.append(True)
                    action()

            yield checked

    monkeypatch.setattr(build_candles, "write_lock", watched)
    return checks
