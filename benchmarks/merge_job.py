"""The 1m job with SQL MERGE: the same trades and candles, without a comparison and without the write lock.

It is started by spark-submit instead of the script of the job, with the same options and arguments.
"""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession

from ohlcv.config.settings import load_settings
from ohlcv.model.build_planner import plan_build
from ohlcv.model.table_contracts import CANDLE_COLUMNS, KEY, VALUES, TableContract
from spark_jobs.iceberg.candle_writer import volume_type
from spark_jobs.iceberg.table_metadata import load_table, read_checkpoint, table_name
from spark_jobs.iceberg.trades_history import TableHistory
from spark_jobs.jobs.build_candles import read_request
from spark_jobs.jobs.rebuild import compute, read_source
from spark_jobs.runtime.parent_watchdog import watch_parents
from spark_jobs.runtime.session import open_session


def main() -> None:
    """Build the candles and merge them."""
    settings = load_settings()
    request = read_request("ohlcv_incremental.py", settings, sys.argv[1:])
    watch_parents()
    spark = open_session(settings, f"ohlcv MERGE {request.own_range}")
    contract = settings.candles_contract(request.timeframe)
    table = load_table(spark, contract)
    history = TableHistory(spark, settings)
    budget = settings.trade_budget(request.timeframe.name)
    plan = plan_build(
        request.timeframe,
        request.own_range,
        history,
        read_checkpoint(table),
        rebuild_pending=request.rebuild_pending,
        trade_budget=budget,
    )
    with read_source(spark, history, [request.timeframe], plan.ranges) as source:
        compute(source, plan, volume_type(table)).createOrReplaceTempView("computed")
        merge(spark, contract)
    spark.stop()


def merge(spark: SparkSession, contract: TableContract) -> None:
    """Merge the computed candles into a table by SQL MERGE."""
    values = [name for name in VALUES if name != "window_end"]
    names = ", ".join(column.name for column in CANDLE_COLUMNS)
    inserted = ", ".join(
        "now()" if column.name in ("created_at", "updated_at") else f"c.{column.name}" for column in CANDLE_COLUMNS
    )
    spark.sql(
        f"MERGE INTO {table_name(spark, contract)} s USING computed c "
        f"ON {' AND '.join(f's.{name} = c.{name}' for name in KEY)} AND s.window_date = c.window_date "
        f"WHEN MATCHED AND ({' OR '.join(f's.{name} <> c.{name}' for name in values)}) THEN UPDATE SET "
        f"{', '.join(f's.{name} = c.{name}' for name in VALUES)}, s.updated_at = now() "
        f"WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({inserted})"
    )


if __name__ == "__main__":
    main()
