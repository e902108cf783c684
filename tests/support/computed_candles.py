"""Candles that the functions of the job compute from a list of trades, without tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.model.build_planner import BuildPlan
from ohlcv.model.intervals import Range, from_microseconds, merge_ranges
from ohlcv.model.source_hours import hours_overlapping
from ohlcv.model.timeframes import get_timeframe
from ohlcv.model.trade_mapping import MAPPED_COLUMNS
from spark_jobs.compute.candle_builder import common_step
from spark_jobs.compute.time_predicates import in_hours
from spark_jobs.compute.trade_aggregation import aggregate_trades
from spark_jobs.compute.trade_columns import with_rejection_reason
from spark_jobs.jobs.rebuild import Source, compute
from support.reference_model import Candle, ReferenceResult, Trade

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
    ]
)


def trades_frame(spark: SparkSession, trades: Sequence[Trade]) -> DataFrame:
    """Return the trades as the job reads them."""
    rows = pa.Table.from_pylist([asdict(trade) for trade in trades], schema=TYPES)
    identity, by_message = F.coalesce("trade_id", "message_id"), F.col("trade_id").isNull()
    return spark.createDataFrame(rows).select(
        *MAPPED_COLUMNS, identity.alias("identity"), by_message.alias("by_message")
    )


def job_result(
    spark: SparkSession, trades: Sequence[Trade], name: str, spans: Sequence[tuple[int, int]], wide: bool = False
) -> ReferenceResult:
    """Return what the functions of the job compute, in the form of the reference result."""
    ranges = merge_ranges([Range(from_microseconds(start), from_microseconds(end)) for start, end in spans])
    hours = hours_overlapping(ranges)
    timeframe = get_timeframe(name)
    validated = with_rejection_reason(trades_frame(spark, trades).where(in_hours(hours)))
    plan = BuildPlan(timeframe, ranges[0], ranges, hours)
    totals = aggregate_trades(validated, common_step([timeframe]), ranges)
    counts = totals.summary.counts.values()
    computed = compute(Source(totals, None), plan, "decimal(38,8)" if wide else "decimal(18,8)")
    result = ReferenceResult({}, {}, Counter(), sum(sum(reasons.values()) for reasons in counts))
    for reasons in counts:
        result.rejected.update({reason: number for reason, number in reasons.items() if reason})
    micros = [F.unix_micros(column).alias(f"{column}_us") for column in ("window_start", "window_end")]
    for row in computed.select("*", *micros).collect():
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
    totals.release()
    return result
