"""Reads of the newest candles, series and trades."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.snapshot_summary import job_summary, main_snapshots
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model import summary_keys
from ohlcv.model.intervals import EPOCH, MICROSECOND, Range, from_microseconds
from ohlcv.model.timeframes import Timeframe
from ohlcv.readers.scans import (
    CandleSource,
    Series,
    StoredCandles,
    any_series,
    count_by_series,
    partition_condition,
)
from ohlcv.readers.trades import load_trades

# Number of partitions that are searched for a series without recent trades: one month of daily partitions, two and a
# half years of monthly ones. Without a limit, a series with too few candles would cause a scan of the whole table.
LOOKBACK_PARTITIONS = 31


def recent_series(settings: Settings, timeframe: Timeframe) -> list[Series]:
    """Return each (symbol, exchange) that has a candle in the newest 31 partitions, sorted."""
    source = StoredCandles(load_table(open_catalog(settings), settings.candles_contract(timeframe)))
    return sorted(find_series(source, timeframe, AlwaysTrue(), source.partitions(AlwaysTrue())))


def newest_candle_end(settings: Settings, timeframe: Timeframe) -> datetime | None:
    """Return the end of the newest candle of all series, or None if there is no candle."""
    start = newest_window_start(load_table(open_catalog(settings), settings.candles_contract(timeframe)), timeframe)
    return None if start is None else EPOCH + start * MICROSECOND + timeframe.length


def newest_trade(settings: Settings, time_range: Range | None = None) -> datetime | None:
    """Return the time of the newest valid trade, in a range if given; None if there is no such trade."""
    newest = load_trades(open_catalog(settings), settings.trades_contract).newest_valid(time_range)
    return None if newest is None else from_microseconds(newest)


def newest_candles(
    source: CandleSource, timeframe: Timeframe, condition: BooleanExpression, only: Series | None, count: int
) -> pa.Table:
    """Read partitions backwards until each series has `count` candles or the search limit is reached."""
    partitions = source.partitions(condition)
    missing = {only} if only else find_series(source, timeframe, condition, partitions)
    found: Counter[Series] = Counter()
    parts = [source.schema.empty_table()]
    # The number of partitions per scan doubles, because each scan plans its files again.
    step, without_rows = 1, 0
    while partitions and missing and without_rows < LOOKBACK_PARTITIONS:
        batch, partitions = partitions[:step], partitions[step:]
        rows = source.rows(And(condition, partition_condition(timeframe, batch), any_series(missing)))
        parts.append(rows)
        found.update(count_by_series(rows))
        missing = {series for series in missing if found[series] < count}
        without_rows = 0 if len(rows) else without_rows + len(batch)
        step = min(2 * step, LOOKBACK_PARTITIONS - without_rows)
    return pa.concat_tables(parts)


def find_series(
    source: CandleSource, timeframe: Timeframe, condition: BooleanExpression, partitions: Sequence[int]
) -> set[Series]:
    """Return the series with a candle in the newest of the partitions."""
    # The newest partition alone would miss every series without trades since midnight.
    recent = partitions[:LOOKBACK_PARTITIONS]
    if not recent:
        return set()
    # These two columns have few distinct values and are a very small part of the files.
    rows = source.rows(And(condition, partition_condition(timeframe, recent)), ("symbol", "exchange"))
    # Another writer may have stored a candle without a symbol or an exchange, which is of no series.
    return set(count_by_series(rows.drop_null()))


def newest_window_start(table: Table, timeframe: Timeframe) -> int | None:
    """Return the start of the newest candle of all series in microseconds, or None if there is no candle."""
    # The column bounds of the files are not sufficient, because rows may have been deleted.
    source = StoredCandles(table)
    for partition in source.partitions(AlwaysTrue()):
        rows = source.rows(partition_condition(timeframe, [partition]), ("window_start",))
        if len(rows):
            newest: int = pc.max(rows["window_start"].cast(pa.int64())).as_py()
            return newest
    return None


def built_until(table: Table, timeframe: Timeframe) -> datetime | None:
    """Return the time up to which the table has been built, or None if it has not been built."""
    summaries = [job_summary(each) for each in main_snapshots(table)]
    ends = [
        datetime.fromisoformat(each[summary_keys.RANGE_END]) for each in summaries if summary_keys.RANGE_END in each
    ]
    # Some catalogs return only the newest snapshot, which may be that of a backfill or of maintenance. After many
    # commits of maintenance those of all runs may have expired.
    is_incomplete = len(summaries) == 1 or (not ends and any(summaries))
    if is_incomplete and (newest := newest_window_start(table, timeframe)) is not None:
        ends.append(from_microseconds(newest) + timeframe.length)
    return max(ends, default=None)
