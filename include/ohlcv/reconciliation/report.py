"""Report of a reconciliation: what is equal, what differs, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

from ohlcv.model.intervals import from_microseconds, iso
from ohlcv.reconciliation.comparison import DIFFERENCES, ComparedWindow, Outcome
from ohlcv.reconciliation.results import Results

# What makes one line of a difference.
LINE_COLUMNS = (
    "venue",
    "exchange",
    "symbol",
    "timeframe",
    "window_start",
    "result",
    "field",
    "ours",
    "theirs",
    "difference",
    "tolerance",
    "convention",
    "evidence",
)


@dataclass(frozen=True)
class Reconciliation:
    """The results of files of one series and timeframe."""

    results: Results
    notes: tuple[str, ...]
    # Stored results that changed.
    written: int

    @property
    def series(self) -> str:
        """Return venue, exchange, symbol and timeframe as one text."""
        results = self.results
        return f"{results.venue}: {results.exchange} {results.symbol} {results.timeframe}"

    @cached_property
    def counts(self) -> dict[Outcome, int]:
        """Return the number of windows by result."""
        found = Counter(each.outcome for each in self.results.windows)
        found["equal"] += len(self.results.equal)
        return {outcome: found[outcome] for outcome in get_args(Outcome)}

    @property
    def within_tolerance(self) -> int:
        """Return how many of the equal windows have differences within the tolerances."""
        return sum(each.outcome == "equal" for each in self.results.windows)

    def is_clean(self, strict: bool = False) -> bool:
        """Return whether no difference is beyond the tolerances; strict: and none needs a convention."""
        return not any(self.counts[outcome] for outcome in (*DIFFERENCES, *(("explained",) if strict else ())))

    @cached_property
    def windows(self) -> list[ComparedWindow]:
        """Return the windows that are not equal."""
        return [each for each in self.results.windows if each.outcome != "equal"]

    @cached_property
    def conventions(self) -> dict[str, int]:
        """Return the number of explained fields by convention."""
        differences = (difference for window in self.windows for difference in window.differences)
        return dict(Counter(each.convention for each in differences if each.convention))

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield one line per difference; a window of only one side has one line."""
        results = self.results
        for window in self.windows:
            line = {
                "venue": results.venue,
                "exchange": results.exchange,
                "symbol": results.symbol,
                "timeframe": results.timeframe.name,
                "window_start": iso(from_microseconds(window.start)),
                "result": window.outcome,
            }
            evidence = {"evidence": "; ".join(window.evidence)}
            if window.outcome in ("only ours", "only theirs"):
                yield {**dict.fromkeys(LINE_COLUMNS, ""), **line, **evidence}
                continue
            for each in window.differences:
                if not each.within:
                    values = {name: "" if value is None else value for name, value in each.to_json().items()}
                    yield {**line, **values, **evidence}

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        results = self.results
        return {
            "venue": results.venue,
            "exchange": results.exchange,
            "symbol": results.symbol,
            "timeframe": results.timeframe.name,
            "ranges": [[iso(from_microseconds(start)), iso(from_microseconds(end))] for start, end in results.spans],
            "files": [path.name for _, path in results.files],
            "compared_at": iso(results.compared_at),
            "candles_snapshot": None if results.candles_snapshot is None else str(results.candles_snapshot),
            "counts": self.counts,
            "within_tolerance": self.within_tolerance,
            "conventions": self.conventions,
            "changed_results": self.written,
            "notes": [*self.notes],
            "windows": [
                {
                    "window_start": iso(from_microseconds(each.start)),
                    "result": each.outcome,
                    "fields": each.fields,
                    "differences": [difference.to_json() for difference in each.differences],
                    "evidence": [*each.evidence],
                }
                for each in self.windows
            ],
        }
