"""Mutations of the rules of measures in the Spark jobs for prove_rules.py."""

from __future__ import annotations

from mutation import Mutation

RULES = "tests/spark/test_measure_rules.py"
WRITES = "tests/spark/test_measures.py"
AGGREGATION = "spark_jobs/compute/trade_aggregation.py"
COLUMNS = "spark_jobs/compute/trade_columns.py"
WRITER = "spark_jobs/iceberg/candle_writer.py"
EDGE_CASES = (f"{RULES}::test_every_edge_case_of_sides_equals_the_reference_model",)
EVERY_MEASURE = (f"{RULES}::test_every_measure_equals_the_reference_model",)
UNKNOWN = "taker volumes are null where a trade of the window has no side"
LAST = "the side decides last between versions of a trade"
NO_REVISION = "a change of measures alone is no revision"
ALL_OR_NONE = "measures of a candle are all null or all exact"
ONLY_IF_EXTENDED = "the side is read only for measures"

MEASURE_MUTATIONS = (
    Mutation(
        UNKNOWN,
        "the trades without a side are left out of the sums",
        "spark_jobs/compute/candle_builder.py",
        """F.when(have_sides, F.col("buy_volume"))""",
        """F.col("buy_volume")""",
        EDGE_CASES,
    ),
    Mutation(
        UNKNOWN,
        "every other text is a sale",
        COLUMNS,
        ".otherwise(NO_SIDE)",
        ".otherwise(SELL_SIDE)",
        EDGE_CASES,
    ),
    Mutation(
        UNKNOWN,
        "longer windows take the highest side",
        AGGREGATION,
        """F.min("lowest_side").alias("lowest_side")""",
        """F.max("lowest_side").alias("lowest_side")""",
        EDGE_CASES,
    ),
    Mutation(
        "taker volumes are those of purchases",
        "volumes of sales are counted",
        AGGREGATION,
        """    is_bought = F.col("taker_side") == BUY_SIDE
    sides""",
        """    is_bought = F.col("taker_side") != BUY_SIDE
    sides""",
        EDGE_CASES,
    ),
    Mutation(
        "taker volumes are those of purchases",
        "volumes of sales are counted where trades are read again",
        AGGREGATION,
        """        is_bought = F.col("taker_side") == BUY_SIDE
        zero""",
        """        is_bought = F.col("taker_side") != BUY_SIDE
        zero""",
        EDGE_CASES,
    ),
    Mutation(
        "first and last trade are those of the window",
        "the last trade is the first",
        AGGREGATION,
        """F.max("last_trade").alias("last_trade")""",
        """F.min("first_trade").alias("last_trade")""",
        EVERY_MEASURE,
    ),
    Mutation(
        LAST,
        "the side decides nothing",
        COLUMNS,
        "    return VERSION_ORDER if measures else ",
        "    return VERSION_ORDER if False else ",
        EDGE_CASES,
    ),
    Mutation(
        NO_REVISION,
        "the candle is written with a new time",
        WRITER,
        """        keeps_time = stays | (F.col("action") == summary_keys.FILLED)
""",
        "        pass\n",
        (f"{WRITES}::test_a_build_fills_the_measures_of_an_extended_table",),
    ),
    Mutation(
        "a change of measures is written",
        "candles of which only measures change are not written",
        WRITER,
        "if row.action in summary_keys.WRITES}",
        "if row.action in summary_keys.CHANGES}",
        (f"{WRITES}::test_a_correction_of_sides_alone_fills_and_is_no_revision",),
    ),
    Mutation(
        ALL_OR_NONE,
        "rows that are written again lose their measures",
        WRITER,
        "select(*(column.name for column in CANDLE_COLUMNS), *comparison.measures)",
        "select(*(column.name for column in CANDLE_COLUMNS))",
        (f"{WRITES}::test_a_correction_of_sides_alone_fills_and_is_no_revision",),
    ),
    Mutation(
        ALL_OR_NONE,
        "preserved candles get the measures of the trades that are left",
        WRITER,
        """*(F.col(f"value.{name}").alias(name) for name in measures)""",
        """*(F.col(f"new.{name}").alias(name) for name in measures)""",
        (f"{WRITES}::test_preserved_candles_keep_their_measures_or_none",),
    ),
    Mutation(
        "a correction of a side alone is found",
        "the side is not part of the digest of an hour",
        "spark_jobs/jobs/build_candles.py",
        "with_side=target.is_extended",
        "with_side=False",
        (f"{WRITES}::test_a_correction_of_a_mapped_side_is_found_in_a_file_of_several_hours",),
    ),
    Mutation(
        "a mapped side is that of the taker",
        "purchases and sales are exchanged",
        "spark_jobs/compute/mapped_trades.py",
        "F.lit(source.buy), BUY).when(column == F.lit(source.sell), SELL)",
        "F.lit(source.buy), SELL).when(column == F.lit(source.sell), BUY)",
        (f"{WRITES}::test_a_correction_of_a_mapped_side_is_found_in_a_file_of_several_hours",),
    ),
    Mutation(
        ONLY_IF_EXTENDED,
        "it is read for every table",
        AGGREGATION,
        """    side = ["taker_side"] if measures else []""",
        """    side = ["taker_side"]""",
        (f"{WRITES}::test_the_side_is_read_only_for_measures",),
    ),
)
