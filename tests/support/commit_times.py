"""Commit timestamps set by tests, so that a table gets a history at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import SimpleNamespace
from unittest.mock import patch


@contextmanager
def commits_at(clock: Callable[[], datetime]) -> Iterator[None]:
    """Make pyiceberg take commit timestamps from this clock inside the block."""

    def milliseconds(_: datetime | None = None) -> int:
        return int(clock().timestamp() * 1000)

    with (
        patch("pyiceberg.table.snapshots.time", SimpleNamespace(time=lambda: clock().timestamp())),
        patch("pyiceberg.table.update.datetime_to_millis", milliseconds),
        patch("pyiceberg.table.metadata.datetime_to_millis", milliseconds),
    ):
        yield
