"""Mutations of the candle rules for prove_rules.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One way to break a rule, and the tests that must detect it."""

    rule: str
    mutation: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


CANDLES = "tests/spark/test_candles.py"
TRADES = "tests/spark/test_trade_rules.py"
PLANS = "tests/spark/test_query_plans.py"
BUILD = "tests/spark/test_build_candles.py"
PUBLICATION = "tests/spark/test_publication.py"
RACES = "tests/crash_recovery/test_publication_races.py"
AUDIT = "tests/unit/quality/test_audit.py"
INTERVALS = "tests/unit/model/test_intervals.py"
PLANNING = ("tests/unit/model/test_build_planner.py", "tests/unit/model/test_build_planner_properties.py")

MUTATIONS = (
    Mutation(
        "order: time, source sequence, id",
        "trades with equal times are ordered by descending sequence",
        "spark_jobs/compute/trade_columns.py",
        '        F.col("source_sequence"),\n',
        '        (-F.col("source_sequence")).alias("source_sequence"),\n',
        (f"{CANDLES}::test_equal_timestamps_are_ordered_by_source_sequence_before_id",),
    ),
    Mutation(
        "order: time, source sequence, id",
        "numeric ids compare as text",
        "spark_jobs/compute/trade_columns.py",
        "F.when(is_number, F.length(digits))",
        "F.when(is_number, 0)",
        (f"{CANDLES}::test_every_field_equals_the_reference_model",),
    ),
    Mutation(
        "order by microsecond",
        "trades are ordered by millisecond",
        "spark_jobs/compute/trade_columns.py",
        '    microsecond = F.pmod("timestamp", F.lit(MICROSECONDS_PER_HOUR))\n',
        '    microsecond = F.pmod("timestamp", F.lit(MICROSECONDS_PER_HOUR)) - F.pmod("timestamp", F.lit(1000))\n',
        (f"{CANDLES}::test_trades_of_one_millisecond_are_ordered_by_microsecond",),
    ),
    Mutation(
        "windows are half-open: [start, end)",
        "windows are (start, end]",
        "spark_jobs/compute/time_predicates.py",
        "F.col(time) - F.pmod(time, F.lit(length))",
        "F.col(time) - 1 - F.pmod(F.col(time) - 1, F.lit(length))",
        (f"{CANDLES}::test_windows_are_half_open_to_the_microsecond",),
    ),
    Mutation(
        "open and close follow the trade order",
        "the open is the price of the first row read",
        "spark_jobs/compute/trade_aggregation.py",
        'F.min_by("price", order).alias("open"),',
        'F.first("price").alias("open"),',
        (f"{TRADES}::test_ids_of_any_length_and_sequences_order_trades_of_one_microsecond",),
    ),
    Mutation(
        "candles are rebuilt, never added to",
        "an updated volume is the sum of the stored and the new volume",
        "spark_jobs/iceberg/candle_writer.py",
        '*(F.coalesce(f"value.{name}", f"new.{name}").alias(name) for name in VALUES),',
        '*((F.coalesce(f"value.{name}", f"new.{name}") if name != "volume" else (F.col("value.volume") + F.when('
        'F.col("action") == "updated", F.col("old.volume")).otherwise(0)).cast("decimal(18,8)")).alias(name)'
        " for name in VALUES),",
        (f"{BUILD}::test_duplicates_count_once_and_corrections_replace_trades",),
    ),
    Mutation(
        "candles are rebuilt, never added to",
        "the stored candles of rebuilt windows are carried over too",
        "spark_jobs/iceberg/candle_writer.py",
        "stored.where(replaced & ~is_rebuilt)",
        "stored.where(replaced)",
        (f"{BUILD}::test_a_rebuild_preserves_the_other_candles_of_the_partition",),
    ),
    Mutation(
        "a rebuild preserves the other candles of the partition",
        "partitions are overwritten with only the rebuilt windows",
        "spark_jobs/iceberg/candle_writer.py",
        "carried.unionByName(rebuilt, allowMissingColumns=True)",
        "carried.limit(0).unionByName(rebuilt, allowMissingColumns=True)",
        (f"{BUILD}::test_a_rebuild_preserves_the_other_candles_of_the_partition",),
    ),
    Mutation(
        "ranges are whole windows",
        "a scheduled range starts at the lookback, not at a window",
        "include/ohlcv/model/intervals.py",
        "Range(floor_time(end - timeframe.lookback, timeframe.length), end)",
        "Range(end - timeframe.lookback, end)",
        (INTERVALS,),
    ),
    Mutation(
        "ranges are whole windows",
        "a scheduled range ends at the data interval, not at a window",
        "include/ohlcv/model/intervals.py",
        "    end = floor_time(interval_end, timeframe.length)\n",
        "    end = interval_end\n",
        (INTERVALS,),
    ),
    Mutation(
        "only complete windows are written",
        "a requested range is not cut at the last complete window",
        "include/ohlcv/model/intervals.py",
        "last_complete if end >= last_complete else ceil_time(end, timeframe.length)",
        "ceil_time(end, timeframe.length)",
        (INTERVALS,),
    ),
    Mutation(
        "only complete windows are written",
        "a pending hour is rebuilt to its end, complete or not",
        "include/ohlcv/model/build_planner.py",
        "    end = min(span.end, own_range.end)\n",
        "    end = span.end\n",
        PLANNING,
    ),
    Mutation(
        "no pending hour is lost",
        "hours with incomplete windows do not stay pending",
        "include/ohlcv/model/build_planner.py",
        "frozenset(deferred | unfinished)",
        "frozenset(deferred)",
        PLANNING,
    ),
    Mutation(
        "without a change there is no commit",
        "unchanged candles cause a commit",
        "spark_jobs/iceberg/candle_writer.py",
        "if row.action in summary_keys.CHANGES",
        "if row.action is not None",
        (f"{BUILD}::test_a_rerun_commits_nothing",),
    ),
    Mutation(
        "a trade counts once",
        "repeated deliveries of a trade all count",
        "spark_jobs/compute/trade_aggregation.py",
        '.where("rank = 1")',
        '.where("rank > 0")',
        (f"{BUILD}::test_duplicates_count_once_and_corrections_replace_trades",),
    ),
    Mutation(
        "a trade counts once",
        "versions in different minutes are not compared",
        "spark_jobs/compute/trade_aggregation.py",
        'trades.groupBy(*PARTITION, "rejected", *SERIES, *IDENTITY)',
        'trades.groupBy(*PARTITION, "rejected", *SERIES, *IDENTITY, window_start(60_000_000))',
        (f"{CANDLES}::test_a_correction_moves_its_trade_to_another_minute",),
    ),
    Mutation(
        "a trade counts once",
        "deliveries equal in every field all count",
        "spark_jobs/compute/trade_aggregation.py",
        "F.row_number()",
        "F.rank()",
        (f"{CANDLES}::test_deliveries_equal_in_every_field_count_once",),
    ),
    Mutation(
        "files are replaced as a whole",
        "a file whose last window is the first rebuilt one is not replaced",
        "spark_jobs/iceberg/partial_overwrite.py",
        "if last >= start:",
        "if last > start:",
        ("tests/spark/test_partial_overwrite.py::test_no_file_is_replaced_in_part",),
    ),
    Mutation(
        "order: time, source sequence, id",
        "ids order trades even if source sequences differ",
        "spark_jobs/compute/trade_aggregation.py",
        '(F.min("min_offset_low") == F.max("max_offset_high"))',
        "F.lit(True)",
        (f"{CANDLES}::test_equal_timestamps_are_ordered_by_source_sequence_before_id",),
    ),
    Mutation(
        "sums are exact",
        "a notional is rounded before it is added",
        "spark_jobs/compute/trade_aggregation.py",
        'F.try_sum(F.col("price") * F.col("quantity"))',
        'F.try_sum((F.col("price") * F.col("quantity")).cast("decimal(37,8)"))',
        (f"{CANDLES}::test_every_field_equals_the_reference_model",),
    ),
    Mutation(
        "an hour without valid trades is not empty",
        "the candles of an hour that has only rejected trades are preserved",
        "spark_jobs/jobs/rebuild.py",
        "empty_hours=plan.hours - source.summary.counts.keys(),",
        "empty_hours=plan.hours - {hour for hour, counts in source.summary.counts.items() if None in counts},",
        (f"{BUILD}::test_an_hour_that_has_only_rejected_trades_is_not_empty",),
    ),
    Mutation(
        "a rejected trade never supersedes",
        "the latest version is chosen before versions are rejected",
        "spark_jobs/compute/trade_aggregation.py",
        "again = _valid(trades).where(",
        "again = trades.where(",
        (f"{TRADES}::test_a_rejected_version_neither_supersedes_nor_counts",),
    ),
    Mutation(
        "the latest version counts",
        "versions of one ingestion time are not ordered by platform sequence",
        "spark_jobs/compute/trade_columns.py",
        '    "platform_sequence",\n',
        "",
        (f"{TRADES}::test_the_first_column_that_differs_decides_between_versions_and_null_is_oldest",),
    ),
    Mutation(
        "the latest version counts",
        "a version without ingestion time is the latest",
        "spark_jobs/compute/trade_aggregation.py",
        "F.desc_nulls_last(name)",
        "F.desc_nulls_first(name)",
        (f"{TRADES}::test_the_first_column_that_differs_decides_between_versions_and_null_is_oldest",),
    ),
    Mutation(
        "the latest version counts",
        "each value is the largest of all versions",
        "spark_jobs/compute/trade_aggregation.py",
        'is_repeated = F.col("rejected").isNull() & (F.col("deliveries") > 1)',
        "is_repeated = F.lit(False)",
        (f"{TRADES}::test_the_first_column_that_differs_decides_between_versions_and_null_is_oldest",),
    ),
    Mutation(
        "an identity is a text",
        "ids that are equal as numbers are the same trade",
        "spark_jobs/compute/trade_aggregation.py",
        'trades.groupBy(*PARTITION, "rejected", *SERIES, *IDENTITY)',
        'trades.withColumn("identity", F.regexp_replace("identity", "^0+", "")).groupBy('
        '*PARTITION, "rejected", *SERIES, *IDENTITY)',
        (f"{TRADES}::test_an_identity_is_a_text_of_a_trade_or_of_a_message",),
    ),
    Mutation(
        "an identity is a text",
        "a trade id and a message id of the same text are the same trade",
        "spark_jobs/compute/trade_aggregation.py",
        'trades.groupBy(*PARTITION, "rejected", *SERIES, *IDENTITY)',
        'trades.withColumn("by_message", F.lit(False)).groupBy(*PARTITION, "rejected", *SERIES, *IDENTITY)',
        (f"{TRADES}::test_an_identity_is_a_text_of_a_trade_or_of_a_message",),
    ),
    Mutation(
        "order: time, source sequence, id",
        "ids are compared without their upper part",
        "spark_jobs/compute/trade_aggregation.py",
        '(F.min("upper_id_low") == F.max("upper_id_high"))',
        "F.lit(True)",
        (f"{TRADES}::test_ids_of_any_length_and_sequences_order_trades_of_one_microsecond",),
    ),
    Mutation(
        "order: time, source sequence, id",
        "trades without a source sequence come last",
        "spark_jobs/compute/trade_columns.py",
        '        F.col("source_sequence"),\n',
        '        F.coalesce("source_sequence", F.lit(2**63 - 1)).alias("source_sequence"),\n',
        (f"{TRADES}::test_ids_of_any_length_and_sequences_order_trades_of_one_microsecond",),
    ),
    Mutation(
        "order: time, source sequence, id",
        "trades that nothing else orders are ordered by descending price",
        "spark_jobs/compute/trade_columns.py",
        '        identity,\n        F.col("price"),\n',
        '        identity,\n        (-F.col("price")).alias("price"),\n',
        (f"{TRADES}::test_trades_that_nothing_else_orders_are_ordered_by_price",),
    ),
    Mutation(
        "vwap is rounded once",
        "vwap is rounded to six decimals of a unit first",
        "spark_jobs/compute/candle_builder.py",
        'units = f"({notional} div {divisor}) + IF({remainder} >= {divisor} - {remainder}, 1, 0)"',
        'units = f"{notional} / {divisor}"',
        (f"{TRADES}::test_vwap_is_rounded_half_up_once",),
    ),
    Mutation(
        "one candle beyond the limits is withheld",
        "a notional of more than 38 digits fails the run",
        "spark_jobs/compute/trade_aggregation.py",
        'F.try_sum(F.col("price") * F.col("quantity"))',
        'F.sum(F.col("price") * F.col("quantity"))',
        (f"{TRADES}::test_a_notional_beyond_38_digits_withholds_only_its_candle",),
    ),
    Mutation(
        "one candle beyond the limits is withheld",
        "a notional that is unknown for one hour is that of the other hours",
        "spark_jobs/compute/trade_aggregation.py",
        'F.when(is_known, F.try_sum("notional"))',
        'F.try_sum("notional")',
        (f"{TRADES}::test_a_notional_beyond_38_digits_withholds_only_its_candle",),
    ),
    Mutation(
        "one candle beyond the limits is withheld",
        "a volume that does not fit its column fails the run",
        "spark_jobs/compute/candle_builder.py",
        ".try_cast(volume_type)",
        ".cast(volume_type)",
        (f"{TRADES}::test_the_largest_volume_is_written_and_the_next_one_is_withheld",),
    ),
    Mutation(
        "only columns that are needed are read",
        "the ids of messages are read although every trade has an id",
        "spark_jobs/jobs/rebuild.py",
        "all_have_ids=history.all_have_ids(hours)",
        "all_have_ids=False",
        (f"{PLANS}::test_trades_without_exceptions_are_read_once_without_the_columns_of_versions",),
    ),
    Mutation(
        "few trades are evaluated without generated code",
        "code is generated for any number of trades",
        "spark_jobs/runtime/session.py",
        "INTERPRETED if trades < CODE_GENERATION_MIN_TRADES else {}",
        "{}",
        (f"{PLANS}::test_code_is_generated_only_for_many_trades",),
    ),
    Mutation(
        "candles are audited before they are published",
        "candles are published whatever the audit finds",
        "spark_jobs/jobs/publication.py",
        "        if not result.findings:\n",
        "        if result is not None:\n",
        (f"{PUBLICATION}::test_too_many_failing_series_reject_the_run",),
    ),
    Mutation(
        "candles are audited before they are published",
        "rows that a candidate carries over are not compared",
        "include/ohlcv/quality/candidate_audit.py",
        "            findings += self._find_changes(scope, table)\n",
        "",
        (f"{PUBLICATION}::test_a_damaged_row_outside_the_ranges_rejects_the_run",),
    ),
    Mutation(
        "no commit of another writer is dropped",
        "a candidate is published over a main that has moved",
        "spark_jobs/iceberg/staging.py",
        "table.manageSnapshots().cherrypick(candidate)",
        "table.manageSnapshots().setCurrentSnapshot(candidate)",
        (f"{PUBLICATION}::test_a_commit_of_another_writer_before_the_publication_is_kept",),
    ),
    Mutation(
        "a failing series does not stop the others",
        "one failing series holds all of its exchange back",
        "spark_jobs/iceberg/candle_writer.py",
        '        & (F.col("symbol") == symbol)\n',
        "",
        (f"{PUBLICATION}::test_a_held_series_keeps_the_candles_that_it_had",),
    ),
    Mutation(
        "a failing series does not stop the others",
        "the checkpoint forgets the held series",
        "spark_jobs/jobs/rebuild.py",
        "held=self.held | others)",
        "held=frozenset(others))",
        (f"{PUBLICATION}::test_a_failing_series_is_held_and_the_others_are_published",),
    ),
    Mutation(
        "waived findings do not fail",
        "a waived finding still fails",
        "include/ohlcv/quality/candidate_audit.py",
        "[each for each in findings if each.digest not in waived]",
        "findings",
        (AUDIT,),
    ),
    Mutation(
        "waived findings do not fail",
        "a waiver holds for all findings",
        "include/ohlcv/quality/candidate_audit.py",
        "[each for each in findings if each.digest not in waived]",
        "[each for each in findings if not waived]",
        (AUDIT,),
    ),
    Mutation(
        "candidates are not published",
        "the newest snapshot counts as published, whatever main is",
        "include/ohlcv/iceberg/snapshot_summary.py",
        "    snapshot = table.current_snapshot()\n",
        "    snapshot = max(table.snapshots(), key=lambda each: each.sequence_number or 0, default=None)\n",
        ("tests/unit/iceberg/test_snapshot_summary.py",),
    ),
    Mutation(
        "candidates are not published",
        "a run reads the checkpoint of a candidate",
        "spark_jobs/iceberg/table_metadata.py",
        "    snapshot = table.currentSnapshot()\n    while snapshot is not None:\n",
        "    snapshot = max(table.snapshots(), key=lambda each: each.sequenceNumber(), default=None)\n"
        "    while snapshot is not None:\n",
        (f"{PUBLICATION}::test_the_checkpoint_of_a_candidate_is_not_read",),
    ),
)
