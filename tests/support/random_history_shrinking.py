"""Shrinking of a failing random history: fewer exchanges, then fewer steps, then fewer rows, while it still fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from support.random_history_steps import History, Row
from support.random_history_tables import HistoryError

# Returns the failure of a history, or None.
Try = Callable[[History], HistoryError | None]


class Shrinker:
    """A failing history, and the time until which shorter ones are tried."""

    def __init__(self, history: History, failure: HistoryError, attempt: Try, seconds: float) -> None:
        self.history = history
        self.failure = failure
        self.attempts = 0
        self._try = attempt
        self._end = time.monotonic() + seconds

    def shrink(self) -> History:
        """Return the shortest failing history that was found in time."""
        self.history = replace(self.history, steps=self.history.steps[: self.failure.step + 1])
        if self.failure.exchanges:
            self._accept(self.history.with_rows(lambda row: row.trade.exchange in self.failure.exchanges))
            if len(self.failure.exchanges) > 1:
                one = min(self.failure.exchanges)
                self._accept(self.history.with_rows(lambda row: row.trade.exchange == one))
        self._reduce(self.history.steps, lambda steps: replace(self.history, steps=tuple(steps)))
        rows = tuple(row for step in self.history.deliveries for row in step.rows)
        self._reduce(rows, self._with_rows)
        return self.history

    def _with_rows(self, rows: Sequence[Row]) -> History:
        kept = {row.number for row in rows}
        return self.history.with_rows(lambda row: row.number in kept)

    def _accept(self, history: History) -> bool:
        """Take a shorter history if it fails too."""
        if history.steps == self.history.steps or time.monotonic() > self._end:
            return False
        self.attempts += 1
        failure = self._try(history)
        if failure is None:
            return False
        self.history, self.failure = history, failure
        return True

    def _reduce(self, parts: Sequence[Any], history_of: Callable[[Sequence[Any]], History]) -> None:
        """Remove parts in ever smaller groups (delta debugging)."""
        size = len(parts) // 2
        while size:
            position = 0
            while position < len(parts):
                fewer = [*parts[:position], *parts[position + size :]]
                if fewer and self._accept(history_of(fewer)):
                    parts = fewer
                else:
                    position += size
            size //= 2
