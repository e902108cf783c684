"""Candles that the functions of the job compute from a list of trades."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.config.execution import NATIVE_PROPERTY
from ohlcv.model.build_planner import BuildPlan
from ohlcv.model.intervals import Range, from_microseconds, merge_ranges
from ohlcv.model.source_hours import hours_overlapping
from ohlcv.model.timeframes import get_timeframe
from ohlcv.model.trade_mapping import MAPPED_COLUMNS
from spark_jobs.compute.candle_builder import common_step
from spark_jobs.compute.time_predicates import in_hours
from spark_jobs.compute.trade_aggregation import aggregate_trades
from spark_jobs.compute.trade_columns import with_rejection_reason
from spark_jobs.iceberg.trades_history import TableHistory
from spark_jobs.iceberg.trades_reader import read_trades
from spark_jobs.jobs.rebuild import Source, compute
from spark_jobs.runtime.execution import is_native_plan
from support.harness import Harness, is_native
from support.reference_model import Candle, Key, Measures, ReferenceResult, Trade

TYPES = pa.schema(
    [
        ("message_id", pa.string()),
        ("trade_id", pa.string()),
        ("symbol", pa.string()),
        ("exchange", pa.string()),
        ("timestamp", pa.int64()),
        ("price", pa.decimal128(18, 8)),
        ("quantity", pa.decimal128(18, 8)),
        ("source_sequence", pa.int64()),
        ("ingestion_timestamp", pa.int64()),
        ("platform_sequence", pa.int64()),
        ("exchange_date", pa.date32()),
        ("exchange_hour", pa.int32()),
        ("side", pa.string()),
    ]
)


@contextmanager
def trades_frame(spark: SparkSession, trades: Sequence[Trade], hours: Iterable[int]) -> Iterator[DataFrame]:
    """Yield the trades of some hours as the job reads them; for the native engine from a table, which it scans."""
    rows = pa.Table.from_pylist([asdict(trade) for trade in trades], schema=TYPES)
    if not is_native(spark):
        identity, by_message = F.coalesce("trade_id", "message_id"), F.col("trade_id").isNull()
        columns = [*map(F.col, MAPPED_COLUMNS), identity.alias("identity"), by_message.alias("by_message")]
        yield with_rejection_reason(spark.createDataFrame(rows).select(*columns).where(in_hours(hours)))
        return
    with TemporaryDirectory() as folder:
        harness = Harness(spark, Path(folder))
        harness.spark.conf.set(NATIVE_PROPERTY, "true")
        harness.load(trades)
        history = TableHistory(harness.spark, harness.settings)
        stored = read_trades(harness.spark, history.table, hours, all_have_ids=history.all_have_ids(hours))
        yield with_rejection_reason(stored)


def job_result(
    spark: SparkSession, trades: Sequence[Trade], name: str, spans: Sequence[tuple[int, int]], wide: bool = False
) -> ReferenceResult:
    """Return what the functions of the job compute, in the form of the reference result."""
    return _compute(spark, trades, name, spans, wide=wide, measures=False)[0]


def job_measures(
    spark: SparkSession, trades: Sequence[Trade], name: str, spans: Sequence[tuple[int, int]], wide: bool = False
) -> tuple[ReferenceResult, dict[Key, Measures]]:
    """Return the candles like `job_result`, and the measures of those that are not withheld."""
    return _compute(spark, trades, name, spans, wide=wide, measures=True)


def _compute(
    spark: SparkSession,
    trades: Sequence[Trade],
    name: str,
    spans: Sequence[tuple[int, int]],
    *,
    wide: bool,
    measures: bool,
) -> tuple[ReferenceResult, dict[Key, Measures]]:
    ranges = merge_ranges([Range(from_microseconds(start), from_microseconds(end)) for start, end in spans])
    hours = hours_overlapping(ranges)
    timeframe = get_timeframe(name)
    plan = BuildPlan(timeframe, ranges[0], ranges, hours)
    with trades_frame(spark, trades, hours) as frame:
        totals = aggregate_trades(frame, common_step([timeframe]), ranges, measures=measures)
        assert is_native_plan(totals.first_read) == is_native(spark)
        counts = totals.summary.counts.values()
        computed = compute(Source(totals, None), plan, "decimal(38,8)" if wide else "decimal(18,8)", measures=measures)
        times = ("window_start", "window_end", *(("first_trade_at", "last_trade_at") if measures else ()))
        micros = [F.unix_micros(column).alias(f"{column}_us") for column in times]
        rows = computed.select("*", *micros).collect()
        totals.release()
    found: dict[Key, Measures] = {}
    result = ReferenceResult({}, {}, Counter(), sum(sum(reasons.values()) for reasons in counts))
    for reasons in counts:
        result.rejected.update({reason: number for reason, number in reasons.items() if reason})
    for row in rows:
        key = (row.symbol, row.exchange, row.window_start_us)
        assert key not in result.candles, "a window has two candles"
        assert row.violation is None
        if row.withheld:
            result.withheld[key] = row.exact_volume
            continue
        result.candles[key] = Candle(
            *key,
            row.window_end_us,
            row.open_price,
            row.high_price,
            row.low_price,
            row.close_price,
            row.volume,
            row.trade_count,
            row.vwap,
        )
        if measures:
            found[key] = Measures(
                row.quote_volume,
                row.taker_buy_volume,
                row.taker_buy_quote_volume,
                row.first_trade_at_us,
                row.last_trade_at_us,
            )
    return result, found
