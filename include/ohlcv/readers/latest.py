"""The newest candles, series and trades."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.snapshot_summary import job_summary
from ohlcv.iceberg.tables import hours_filter, load_table, open_catalog
from ohlcv.model import summary_keys
from ohlcv.model.intervals import EPOCH, MICROSECOND, Range, from_microseconds, to_microseconds
from ohlcv.model.source_hours import HOURS_PER_DAY, hour_range, hours_overlapping
from ohlcv.model.table_contracts import TRADES, candles_contract
from ohlcv.model.timeframes import Timeframe
from ohlcv.model.trade_validity import validity_condition
from ohlcv.readers.scans import (
    Series,
    any_series,
    count_by_series,
    list_partitions,
    partition_condition,
    read_rows,
    table_schema,
)

# How far a reader looks for a series that is quiet: a month of daily partitions, two and a half years of
# monthly ones. Without a bound, a series with one candle too few would cost a read of the whole table.
LOOKBACK_PARTITIONS = 31


def recent_series(settings: Settings, timeframe: Timeframe) -> list[Series]:
    """Name each (symbol, exchange) with a candle in the newest 31 partitions."""
    table = load_table(open_catalog(settings), candles_contract(timeframe))
    return sorted(series_in(table, timeframe, AlwaysTrue(), list_partitions(table, AlwaysTrue())))


def newest_candle_end(settings: Settings, timeframe: Timeframe) -> datetime | None:
    """Give the end of the newest candle of all series, None while there is none."""
    start = newest_window(load_table(open_catalog(settings), candles_contract(timeframe)), timeframe)
    return None if start is None else EPOCH + start * MICROSECOND + timeframe.length


def newest_trade(settings: Settings, span: Range | None = None) -> datetime | None:
    """Give the time of the newest trade that may reach a candle, of all or in a span; None while there is none."""
    table = load_table(open_catalog(settings), TRADES)
    partitions = (task.file.partition for task in table.scan().plan_files())
    hours = {partition[0] * HOURS_PER_DAY + partition[1] for partition in partitions}
    if span is not None:
        hours &= hours_overlapping([span])
    # The newest hour usually holds the answer.
    for hour in sorted(hours, reverse=True):
        limits = hour_range(hour)
        if span is not None:
            limits = Range(max(limits.start, span.start), min(limits.end, span.end))
        condition = (
            f"({hours_filter({hour})}) AND {validity_condition()}"
            f" AND timestamp >= {to_microseconds(limits.start)} AND timestamp < {to_microseconds(limits.end)}"
        )
        rows = table.scan(condition, selected_fields=("timestamp",)).to_arrow()
        newest: int | None = pc.max(rows["timestamp"]).as_py()
        if newest is not None:
            return from_microseconds(newest)
    return None


def newest_candles(
    table: Table, timeframe: Timeframe, condition: BooleanExpression, only: Series | None, count: int
) -> pa.Table:
    """Read partitions from the newest back until every series has its number of candles; some get more."""
    partitions = list_partitions(table, condition)
    missing = {only} if only else series_in(table, timeframe, condition, partitions)
    found: Counter[Series] = Counter()
    parts = [table_schema(table).empty_table()]
    # Reading ever more partitions at once keeps the number of scans small: each one plans anew.
    step, quiet = 1, 0
    while partitions and missing and quiet < LOOKBACK_PARTITIONS:
        some, partitions = partitions[:step], partitions[step:]
        rows = read_rows(table, And(condition, partition_condition(timeframe, some), any_series(missing)))
        parts.append(rows)
        found.update(count_by_series(rows))
        missing = {series for series in missing if found[series] < count}
        quiet = 0 if len(rows) else quiet + len(some)
        step = min(2 * step, LOOKBACK_PARTITIONS - quiet)
    return pa.concat_tables(parts)


def series_in(
    table: Table, timeframe: Timeframe, condition: BooleanExpression, partitions: Sequence[int]
) -> set[Series]:
    # The newest partition alone would lose every series that has not traded since midnight.
    recent = partitions[:LOOKBACK_PARTITIONS]
    if not recent:
        return set()
    # Two columns of few different values: next to nothing of the files' bytes.
    rows = read_rows(table, And(condition, partition_condition(timeframe, recent)), ("symbol", "exchange"))
    return set(count_by_series(rows))


def newest_window(table: Table, timeframe: Timeframe) -> int | None:
    """Give the start of the newest candle of all series, in microseconds."""
    # The files' column bounds would do, but for rows that were deleted.
    for partition in list_partitions(table, AlwaysTrue()):
        rows = read_rows(table, partition_condition(timeframe, [partition]), ("window_start",))
        if len(rows):
            newest: int = pc.max(rows["window_start"].cast(pa.int64())).as_py()
            return newest
    return None


def built_until(table: Table, timeframe: Timeframe) -> datetime | None:
    """Tell up to when the table has been built; None where it never was."""
    told = (job_summary(each).get(summary_keys.RANGE_END) for each in table.snapshots())
    ends = [datetime.fromisoformat(text) for text in told if text]
    # A catalog may show the newest snapshot alone, and that may be a backfill's or maintenance's.
    if len(table.snapshots()) == 1 and (newest := newest_window(table, timeframe)) is not None:
        ends.append(from_microseconds(newest) + timeframe.length)
    return max(ends, default=None)
