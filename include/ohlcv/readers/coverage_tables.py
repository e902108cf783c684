"""Coverage as Arrow tables: a row per hour, or the sums of each series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import Any, Literal, get_args

import pyarrow as pa

from ohlcv.model.coverage_columns import COVERAGE_COLUMNS
from ohlcv.model.coverage_records import State
from ohlcv.model.errors import InputError
from ohlcv.readers.coverage import FACTS, Coverage
from ohlcv.readers.coverage_states import (
    CoverageRow,
    SeriesCoverage,
    delay_percentile,
    longest_silence,
    sum_delays,
)

# What a row is of.
By = Literal["series", "hour"]
STATES: tuple[str, ...] = get_args(State)
PERCENTILES = {"delay_p50": 0.5, "delay_p95": 0.95, "delay_p99": 0.99}
_TIME = pa.timestamp("us", "UTC")
_TYPES = {
    "string": pa.string(),
    "long": pa.int64(),
    "boolean": pa.bool_(),
    "timestamptz": _TIME,
    "list<long>": pa.list_(pa.int64()),
}
_DELAYS = [(name, pa.string()) for name in PERCENTILES]
HOUR_SCHEMA = pa.schema(
    [
        ("exchange", pa.string()),
        ("symbol", pa.string()),
        ("hour", _TIME),
        ("state", pa.string()),
        ("detail", pa.string()),
        ("missing", pa.int64()),
        ("longest_silence", pa.int64()),
        *_DELAYS,
        ("notes", pa.list_(pa.string())),
        *((column.name, _TYPES[column.type]) for column in COVERAGE_COLUMNS if column.name in FACTS),
    ]
)
_COUNTS = ("accepted", "rejected", "duplicates", "superseded")
SERIES_SCHEMA = pa.schema(
    [
        ("exchange", pa.string()),
        ("symbol", pa.string()),
        *((state.replace(" ", "_"), pa.int64()) for state in STATES),
        *((name, pa.int64()) for name in _COUNTS),
        ("missing", pa.int64()),
        ("longest_silence", pa.int64()),
        *_DELAYS,
        ("notes", pa.list_(pa.string())),
    ]
)
_ROWS = 10_000


def coverage_table(coverage: Coverage, by: str = "hour") -> pa.Table:
    """Return the hours of each series, or each series with the number of hours in each state."""
    if by not in get_args(By):
        raise InputError(f"unknown rows '{by}': choose one of {', '.join(get_args(By))}")
    schema = HOUR_SCHEMA if by == "hour" else SERIES_SCHEMA
    rows = _hours(coverage) if by == "hour" else (_summary(each, coverage) for each in coverage.series())
    # In batches: all rows as Python objects would need gigabytes.
    batches = []
    while part := list(islice(rows, _ROWS)):
        batches.append(pa.RecordBatch.from_pylist(part, schema=schema))
    return pa.Table.from_batches(batches, schema)


def _hours(coverage: Coverage) -> Iterator[dict[str, Any]]:
    for exchange, symbol, row in coverage.rows():
        facts = dict.fromkeys(FACTS) if row.facts is None else {name: row.facts[name] for name in FACTS}
        yield {
            "exchange": exchange,
            "symbol": symbol,
            "hour": row.start,
            "state": row.state,
            "detail": row.detail or None,
            "missing": row.missing,
            "longest_silence": row.longest_silence if row.hour in coverage.counted else None,
            **{name: row.delay(share) for name, share in PERCENTILES.items()},
            "notes": list(row.notes),
            **facts,
            "accepted": row.accepted,
        }


def _summary(series: SeriesCoverage, coverage: Coverage) -> dict[str, Any]:
    states = Counter(row.state for row in series.rows)
    missing = [row.missing for row in series.rows if row.missing is not None]
    delays = sum_delays(row.facts["delays"] for row in series.rows if row.facts is not None)
    return {
        "exchange": series.exchange,
        "symbol": series.symbol,
        **{state.replace(" ", "_"): states[state] for state in get_args(State)},
        **{name: sum(getattr(row, name) for row in series.rows) for name in _COUNTS},
        # Without source sequences nothing tells that no number is missing.
        "missing": sum(missing) if missing else None,
        "longest_silence": _longest_silence(row for row in series.rows if row.hour in coverage.counted),
        **{name: delay_percentile(delays, share) for name, share in PERCENTILES.items()},
        "notes": sorted({note for row in series.rows for note in row.notes}),
    }


def _longest_silence(rows: Iterable[CoverageRow]) -> int | None:
    """Return the most minutes without a trade, across consecutive hours. None if no hour is known."""
    runs = groupby(enumerate(rows), key=lambda each: each[1].hour - each[0])
    return max((longest_silence(row.minutes for _, row in run) for _, run in runs), default=None)
