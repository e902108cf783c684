"""Recomputation of candles from trades by DuckDB, in temporary tables that the rules query.

It shares no code with the Spark job, only the column names of the data contract. It reads the trades in chunks of whole
hours, so memory grows with the trades of an hour and with the candles of the range, not with the trades of the range.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from types import TracebackType

import pyarrow as pa
from pyiceberg.table import Table

from ohlcv.model.intervals import HOUR, MICROSECOND, Range
from ohlcv.model.source_hours import hours_overlapping
from ohlcv.model.table_contracts import MEASURES
from ohlcv.model.timeframes import Timeframe
from ohlcv.quality import measures as measure_sql
from ohlcv.quality.measures import has_measures, stores_measures
from ohlcv.quality.report import Finding, ValidationResult
from ohlcv.quality.rule_database import find_violations, in_ranges, load_stored, report_memory, rule_database
from ohlcv.quality.rules import VALUES, Basis, rules_of
from ohlcv.quality.trade_versions import SIDE_FIELD, TRADE_FIELDS, latest_version, trades_query
from ohlcv.readers.trades import TradesTable

# Trades that are read and kept at a time. An hour with more trades is a chunk of its own.
CHUNK_ROWS = 2_000_000

# The trades of a chunk.
_TRADES = f"CREATE OR REPLACE TEMP TABLE trades ({TRADE_FIELDS}{{side}})"

# What is kept of all chunks.
_KEPT = """
CREATE TEMP TABLE partials (
    symbol VARCHAR, exchange VARCHAR, start BIGINT, open_price BIGINT, high_price BIGINT, low_price BIGINT,
    close_price BIGINT, volume HUGEINT, trade_count BIGINT, high_notional HUGEINT, low_notional HUGEINT{measures}
);
CREATE TEMP TABLE trade_counts (symbol VARCHAR, exchange VARCHAR, hour_number BIGINT, trades BIGINT, rejected BIGINT);
CREATE TEMP TABLE sequences (
    symbol VARCHAR, exchange VARCHAR, first_time BIGINT, numbers BIGINT, lowest HUGEINT, highest HUGEINT
);
"""
_COUNTS = """
INSERT INTO trade_counts
SELECT coalesce(symbol, ''), coalesce(exchange, ''), hour_number, count(*), count(*) FILTER (NOT valid)
FROM trades GROUP BY ALL
"""
_SEQUENCES = """
INSERT INTO sequences
SELECT symbol, exchange, min("timestamp"), count(DISTINCT source_sequence), min(source_sequence), max(source_sequence)
FROM trades WHERE valid AND source_sequence IS NOT NULL GROUP BY symbol, exchange
"""

# Sums are 128-bit integers. A notional may have more bits, so it is summed in two parts; one of more than 38 digits
# withholds the candle, and its vwap is null. The order of trades follows the data contract; ids made of digits compare
# as numbers. All versions of a trade are in one hour, and a partial candle lies in one hour, so a chunk of whole hours
# is exact.
_PARTIALS = """
INSERT INTO partials
WITH latest AS (SELECT * FROM trades WHERE valid {latest}),
keyed AS (
    SELECT symbol, exchange, "timestamp", source_sequence, price, quantity,
        floor_time("timestamp", {step}) AS start, coalesce(trade_id, message_id) AS id,
        CASE WHEN regexp_full_match(coalesce(trade_id, message_id), '[0-9]+')
            THEN ltrim(coalesce(trade_id, message_id), '0') END AS digits{side}
    FROM latest
),
ordered AS (
    SELECT *, row_number() OVER (
        PARTITION BY symbol, exchange, start
        ORDER BY "timestamp", source_sequence NULLS FIRST, digits IS NULL, length(digits), digits, id, price
    ) AS position
    FROM keyed
)
SELECT symbol, exchange, start, arg_min(price, position), max(price), min(price), arg_max(price, position),
    sum(CAST(quantity AS HUGEINT)), count(*), sum(CAST(price // 1000000000 AS HUGEINT) * quantity),
    sum(CAST(price % 1000000000 AS HUGEINT) * quantity){measures}
FROM ordered WHERE {in_ranges} GROUP BY symbol, exchange, start
"""
_EXPECTED = """
WITH candles AS (
    SELECT symbol, exchange, floor_time(start, getvariable('length')) AS window_start,
        arg_min(open_price, start) AS open_price, max(high_price) AS high_price, min(low_price) AS low_price,
        arg_max(close_price, start) AS close_price, sum(volume) AS volume,
        CAST(sum(trade_count) AS BIGINT) AS trade_count, sum(high_notional) AS high_notional,
        sum(low_notional) AS low_notional{combined}
    FROM partials GROUP BY ALL
),
notionals AS (
    SELECT * EXCLUDE (high_notional, low_notional), CASE WHEN high_notional + low_notional // 1000000000 < {limit}
        THEN high_notional * 1000000000 + low_notional END AS notional
    FROM candles WHERE {in_ranges}
)
SELECT * EXCLUDE (notional{intermediate}),
    notional // volume + CAST(notional % volume * 2 >= volume AS INTEGER) AS vwap{measures}
FROM notionals
"""

# Limit of a notional of 38 digits, without its lower part.
_HIGH_NOTIONAL_LIMIT = 10 ** (38 - 9)

# Preserved candles are excluded: one of their source hours is empty (its trades have expired), and the recomputation
# would count fewer trades.
_PAIRS = """
WITH unique_stored AS (SELECT DISTINCT ON (symbol, exchange, window_start) * FROM stored),
both_sides AS (
    SELECT coalesce(unique_stored.symbol, expected.symbol) AS symbol,
        coalesce(unique_stored.exchange, expected.exchange) AS exchange,
        coalesce(unique_stored.window_start, expected.window_start) AS window_start,
        unique_stored.window_start IS NOT NULL AS is_stored, expected.window_start IS NOT NULL AS is_expected, {fields}
    FROM unique_stored FULL JOIN expected USING (symbol, exchange, window_start)
)
SELECT * FROM both_sides
WHERE NOT (is_stored AND coalesce(expected_trade_count, 0) < stored_trade_count AND EXISTS (
    SELECT 1 FROM empty_hours
    WHERE hour * 3600000000 >= floor_time(window_start, {group})
        AND hour * 3600000000 < floor_time(window_start, {group}) + {group}
))
"""


class Recomputation:
    """Candles recomputed from the trades of some ranges, in a database in memory that can run rules.

    The tables `trade_counts` and `sequences` describe the trades read, and `partials` has partial candles of one step
    each, from which the candles of every timeframe are combined whose length is a multiple of the step.
    """

    def __init__(
        self, ranges: list[Range], step: timedelta, memory: str | None = None, *, measures: bool = False
    ) -> None:
        """Each range consists of whole windows, and the step divides an hour (`common_step`).

        `memory` is a limit such as 1024m. What does not fit is written to temporary files. With `measures`, those of
        the candles are recomputed, too.
        """
        self._ranges = ranges
        self._step = step // MICROSECOND
        self._memory = memory
        self._measures = measures
        self._cancelled = threading.Event()
        with ExitStack() as stack:
            self.connection = stack.enter_context(rule_database(memory))
            self.connection.execute(_KEPT.format(measures=self._if_measures(measure_sql.PARTIAL_FIELDS)))
            self._resources = stack.pop_all()

    def __enter__(self) -> Recomputation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the database and delete its temporary files."""
        self._resources.close()

    def cancel(self) -> None:
        """Make a running `run` raise CancelledError before it reads the next files. Another thread may call this."""
        self._cancelled.set()

    def run(self, trades: TradesTable, snapshot: int | None, max_rows: int = CHUNK_ROWS) -> None:
        """Read the trades of the hours of the ranges from a snapshot, None for the current one."""
        with self.report_memory():
            needed = hours_overlapping(self._ranges)
            for hours, tables in trades.read_chunks(needed, snapshot, max_rows, with_side=self._measures):
                self.add_chunk(trades, hours, tables)

    def add_chunk(self, trades: TradesTable, hours: Iterable[int], tables: Iterable[pa.Table]) -> None:
        """Add all trades of some hours. Tables of a mapped trades table may have trades of other hours."""
        query = trades_query(trades, hours, "trade_rows", with_side=self._measures)
        self.connection.execute(_TRADES.format(side=self._if_measures(SIDE_FIELD)))
        for table in tables:
            if self._cancelled.is_set():
                raise CancelledError
            self.connection.register("trade_rows", table)
            self.connection.execute(f"INSERT INTO trades {query}")
            self.connection.unregister("trade_rows")
        partials = _PARTIALS.format(
            latest=latest_version(trades.mapping, with_side=self._measures),
            step=self._step,
            side=self._if_measures(", side"),
            measures=self._if_measures(measure_sql.PARTIALS),
            in_ranges=in_ranges(self._ranges, "start"),
        )
        for statement in (_COUNTS, _SEQUENCES, partials):
            self.connection.execute(statement)
        self.connection.execute("DROP TABLE trades")

    def create_expected(self, timeframe: Timeframe, ranges: list[Range]) -> None:
        """Create the table `expected`: the candles of a timeframe in ranges that consist of whole windows.

        The vwap of a candle that is withheld because of its notional is null.
        """
        if timeframe.microseconds % self._step:
            raise ValueError(f"{timeframe} is not a multiple of the step of {self._step} microseconds")
        self.connection.execute(f"SET VARIABLE length = {timeframe.microseconds}")
        expected = _EXPECTED.format(
            combined=self._if_measures(measure_sql.COMBINED),
            in_ranges=in_ranges(ranges),
            limit=_HIGH_NOTIONAL_LIMIT,
            intermediate=self._if_measures(measure_sql.INTERMEDIATE),
            measures=self._if_measures(measure_sql.EXPECTED),
        )
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE expected AS {expected}")

    def find_violations(self, timeframe: Timeframe, ranges: list[Range], excluded: str = "false") -> list[Finding]:
        """Run the rules on the candles in the table `stored` (`load_stored`), with its measures if it has them.

        `excluded` is the SQL condition of candles that are not compared.
        """
        measures = self._measures and has_measures(self.connection.table("stored").columns)
        with self.report_memory():
            self.create_expected(timeframe, ranges)
            for name in ("stored", "expected"):
                self.connection.execute(f"DELETE FROM {name} WHERE {excluded}")
            self._create_empty_hours()
            fields = ", ".join(
                f"unique_stored.{name} AS stored_{name}, expected.{name} AS expected_{name}"
                for name in (*VALUES, *(MEASURES if measures else ()))
            )
            group = max(timeframe.length, HOUR) // MICROSECOND
            pairs = _PAIRS.format(fields=fields, group=group)
            self.connection.execute(f"CREATE OR REPLACE TEMP TABLE pairs AS {pairs}")
            return self._violations("candles", "trades", measures=measures)

    def find_source_violations(self) -> list[Finding]:
        """Run the rules on the trades."""
        with self.report_memory():
            return self._violations("source")

    def _violations(self, *bases: Basis, measures: bool = False) -> list[Finding]:
        return [
            finding
            for rule in rules_of(*bases, measures=measures)
            for finding in find_violations(self.connection, rule)
        ]

    def _if_measures(self, sql: str) -> str:
        return sql if self._measures else ""

    @property
    def trades(self) -> int:
        """Return the number of trades read, including duplicates and rejected ones."""
        return self._count("SELECT coalesce(sum(trades), 0) FROM trade_counts")

    @property
    def stored(self) -> int:
        """Return the number of candles in the table `stored`."""
        return self._count("SELECT count(*) FROM stored")

    def _count(self, query: str) -> int:
        ((count,),) = self.connection.execute(query).fetchall()
        return int(count)

    def _create_empty_hours(self) -> None:
        present = {
            row[0] for row in self.connection.execute("SELECT DISTINCT hour_number FROM trade_counts").fetchall()
        }
        empty = pa.table({"hour": pa.array(sorted(hours_overlapping(self._ranges) - present), pa.int64())})
        self.connection.register("hours_without_trades", empty)
        self.connection.execute("CREATE OR REPLACE TEMP TABLE empty_hours AS SELECT hour FROM hours_without_trades")
        self.connection.unregister("hours_without_trades")

    def report_memory(self) -> AbstractContextManager[None]:
        """Raise OhlcvError if the block, which uses the connection, needs too much memory."""
        return report_memory(f"recomputation of {self._ranges[0]}", self._memory)


def common_step(timeframes: Iterable[Timeframe]) -> timedelta:
    """Return the longest step of partial candles from which the candles of all timeframes can be combined."""
    return math.gcd(HOUR // MICROSECOND, *(each.microseconds for each in timeframes)) * MICROSECOND


def validate_against_trades(
    timeframe: Timeframe, ranges: list[Range], trades: TradesTable, candles: Table, snapshot: int | None, memory: str
) -> ValidationResult:
    """Recompute the candles of the ranges from one trades snapshot (None: the current one), and run the rules."""
    measures = stores_measures(candles)
    with Recomputation(ranges, common_step([timeframe]), memory, measures=measures) as recomputation:
        recomputation.run(trades, snapshot)
        load_stored(recomputation.connection, timeframe, candles, ranges)
        findings = recomputation.find_violations(timeframe, ranges)
        findings += recomputation.find_source_violations()
        return ValidationResult(timeframe.name, ranges, recomputation.stored, recomputation.trades, findings, [])
