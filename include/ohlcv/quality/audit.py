"""Audit of computed candles before they are published: the interface for the Spark jobs.

DuckDB and pyiceberg are imported in a thread of its own, which recomputes the candles while Spark works.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import ModuleType
from typing import TYPE_CHECKING

from ohlcv.model.audit_records import Decisions
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import HOUR, Range, floor_time
from ohlcv.model.source_hours import hour_number
from ohlcv.model.table_contracts import TableContract
from ohlcv.model.timeframes import Timeframe
from ohlcv.quality.report import Finding

if TYPE_CHECKING:
    import pyarrow as pa

    from ohlcv.config.settings import Settings
    from ohlcv.quality.candidate_audit import CandidateAudit

# Rule of findings about rows that a candidate must not change. Only the audit checks it.
CARRIED_OVER = "carried_over_rows_are_unchanged"

# Exchange, symbol, and first hour of the windows (of daily candles: of the day).
HeldKey = tuple[str, str, int]


@dataclass(frozen=True)
class AuditScope:
    """What a candidate was built for."""

    timeframe: Timeframe
    # Ranges of the plan.
    ranges: list[Range]
    # Keys that keep their stored candles.
    held: frozenset[HeldKey] = frozenset()
    # Whether candles of hours without trades are deleted instead of preserved.
    prune: bool = False


@dataclass(frozen=True)
class AuditResult:
    """Findings of an audit."""

    # Failures that are not waived.
    findings: list[Finding]
    # Number of series in the ranges.
    series: int
    waived: list[Finding] = field(default_factory=list)

    def failing(self, timeframe: Timeframe) -> dict[HeldKey, list[Finding]] | None:
        """Return the findings by the key that must be held, None if a finding cannot be attributed to a series."""
        keys: dict[HeldKey, list[Finding]] = {}
        for finding in self.findings:
            if finding.rule == CARRIED_OVER or not finding.symbol or not finding.exchange:
                return None
            keys.setdefault(held_key(timeframe, finding), []).append(finding)
        return keys


def held_key(timeframe: Timeframe, finding: Finding) -> HeldKey:
    """Return the key that holds back the window of a finding."""
    return key_of_window(timeframe, finding.symbol, finding.exchange, datetime.fromisoformat(finding.window_start))


def key_of_window(timeframe: Timeframe, symbol: str, exchange: str, start: datetime) -> HeldKey:
    """Return the key that holds back a window."""
    return exchange, symbol, hour_number(floor_time(start, max(timeframe.length, HOUR)))


class Audit:
    """The candles recomputed from a trades snapshot, compared with candidates. The recomputation starts at once."""

    def __init__(
        self,
        settings: Settings,
        timeframes: Iterable[Timeframe],
        ranges: list[Range],
        snapshot: int | None,
        metadata: str,
        memory: str,
        *,
        measures: bool = False,
    ) -> None:
        """`metadata` is the metadata file of the trades table at the snapshot; without a snapshot there are no trades.

        `ranges` contains the ranges of every scope. `measures` says whether one of the candle tables is extended.
        """
        self._settings = settings
        self._work: CandidateAudit | None = None
        self._error: BaseException | None = None
        self._is_closed = threading.Event()
        self._arguments = (settings, list(timeframes), ranges, snapshot, metadata, memory)
        self._measures = measures
        # A daemon, so that it never keeps the process of a failed job alive.
        self._thread = threading.Thread(target=self._recompute, name="ohlcv-audit", daemon=True)
        self._thread.start()

    def warnings(self) -> list[Finding]:
        """Return the findings of the rules on the trades."""
        with self._described_store_errors():
            return self._finished().warnings()

    def check_candidate(
        self, scope: AuditScope, contract: TableContract, candidate: int, metadata: str, decisions: Decisions
    ) -> AuditResult:
        """Return the findings of a snapshot that is not published yet. `metadata` is the file that lists it."""
        with self._described_store_errors():
            return self._finished().check_candidate(scope, contract, candidate, metadata, decisions)

    def check_rows(self, scope: AuditScope, rows: pa.Table, wide: bool, decisions: Decisions) -> AuditResult:
        """Return the findings of computed candles that are not written yet, with the columns of the table's contract.

        `wide` says whether the table stores volumes of 38 digits.
        """
        return self._finished().check_rows(scope, rows, wide, decisions)

    def close(self) -> None:
        """Cancel the recomputation if it is running, and free its memory."""
        self._is_closed.set()
        if self._work is not None:
            self._work.cancel()
        self._thread.join()
        if self._work is not None:
            self._work.close()

    def _recompute(self) -> None:
        try:
            with _without_pandas():
                # Imported here: takes a third of a second of CPU time.
                from ohlcv.quality.candidate_audit import CandidateAudit

            self._work = CandidateAudit(*self._arguments, measures=self._measures)
            if not self._is_closed.is_set():
                self._work.recompute()
        except ImportError as error:
            self._error = OhlcvError(
                f"candles cannot be audited before they are published ({error}): install the requirements of the "
                "project where jobs start, or set OHLCV_AUDIT=after"
            )
        except BaseException as error:
            self._error = error

    @contextmanager
    def _described_store_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # Imported here, because it imports pyarrow.
            from ohlcv.iceberg.object_store import describe_store_error, is_store_error

            if not is_store_error(error):
                raise
            problem = describe_store_error(self._settings, error)
            raise OhlcvError(f"the audit failed, nothing was published: {problem}") from error

    def _finished(self) -> CandidateAudit:
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._work is not None
        return self._work


@contextmanager
def _without_pandas() -> Iterator[None]:
    """Hide pandas from the first import of pyarrow's datasets, which imports it only to recognize its types.

    That takes a seventh of a second of CPU time. A process that has imported pandas or the datasets is not changed.
    """
    if {"pandas", "pyarrow.dataset"} & sys.modules.keys():
        yield
        return
    too_old = ModuleType("pandas")
    too_old.__version__ = "0"  # type: ignore[attr-defined]
    sys.modules["pandas"] = too_old
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        del sys.modules["pandas"]
