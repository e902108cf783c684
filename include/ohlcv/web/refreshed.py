"""Values that are read in the background, so that a slow or unreachable source delays no request for long."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from ohlcv.model.errors import OhlcvError

log = logging.getLogger(__name__)

# A request waits at most this long for a refresh.
PATIENCE_SECONDS = 2.5
# A source that failed is not asked again for this time.
RETRY_SECONDS = 10.0

T = TypeVar("T")


class Refreshed(Generic[T]):
    """Value that one thread at a time reads again, at most once per `seconds`, when it is requested."""

    def __init__(self, read: Callable[[], T], seconds: float) -> None:
        self._read = read
        self._seconds = seconds
        self._condition = threading.Condition()
        self._value: T | None = None
        self._problem: str | None = None
        self._next_start = 0.0
        # Time at which the running refresh began.
        self._running_since: float | None = None

    def get(self) -> tuple[T | None, str | None]:
        """Return the last value, None if there is none yet, and what is wrong with the source, None if nothing is."""
        with self._condition:
            if self._running_since is None and time.monotonic() >= self._next_start:
                self._running_since = time.monotonic()
                threading.Thread(target=self._refresh, daemon=True).start()
            if self._running_since is not None:
                remaining = self._running_since + PATIENCE_SECONDS - time.monotonic()
                self._condition.wait_for(lambda: self._running_since is None, max(remaining, 0))
            if self._value is None and self._problem is None:
                return None, "Airflow has not answered yet: try again in a few seconds"
            return self._value, self._problem

    def _refresh(self) -> None:
        value, problem = None, None
        try:
            value = self._read()
        except OhlcvError as error:
            problem = str(error)
        except Exception:
            log.exception("a response of Airflow cannot be read")
            problem = "a response of Airflow cannot be read: see the log of the candle service"
        with self._condition:
            if problem is None:
                self._value = value
            self._problem = problem
            self._next_start = time.monotonic() + (self._seconds if problem is None else RETRY_SECONDS)
            self._running_since = None
            self._condition.notify_all()
