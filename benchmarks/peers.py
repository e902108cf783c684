"""Exact candles computed by other engines from the same files, for the comparison with a warm Spark session.

Each engine processes one hour at a time, because a trade id is unique within an hour and every window except that of
a day lies within an hour. With hash tables of a whole day DuckDB took 1.5 times as long. The plan for an hour: read and
filter the trades; group by a hash of the identity; where a hash occurs twice, keep the latest version; aggregate by
window; apply the total order only to the trades at the first and last timestamp of each window. This was the fastest of
the exact plans that were tried with DuckDB. The other engines use the same plan and were not tuned further.

    python -m benchmarks.peers duckdb SOCKET
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from benchmarks.measured_process import serve

# Data files of an Iceberg scan, by hour since the epoch.
Hours = Mapping[int, Sequence[str]]

HOUR_MICROSECONDS = 3_600_000_000
IDENTITY = "exchange, symbol, trade_id, CASE WHEN trade_id IS NULL THEN message_id END"
VERSION = (
    "ingestion_timestamp DESC NULLS LAST, platform_sequence DESC NULLS LAST, message_id DESC NULLS LAST, ts DESC, "
    "source_sequence DESC NULLS LAST, price DESC, quantity DESC"
)
COLUMNS = (
    "symbol, exchange, trade_id, message_id, price, quantity, source_sequence, ingestion_timestamp, platform_sequence"
)
ORDER = "ts, source_sequence IS NOT NULL, source_sequence, NOT is_number, digits, number, id, price"


def valid_trade_condition(hour: int) -> str:
    """Return the SQL condition of a valid trade in the files of an hour."""
    begin = hour * HOUR_MICROSECONDS
    return (
        "symbol IS NOT NULL AND exchange IS NOT NULL AND (trade_id IS NOT NULL OR message_id IS NOT NULL)"
        f' AND price > 0 AND quantity > 0 AND "timestamp" >= {begin} AND "timestamp" < {begin + HOUR_MICROSECONDS}'
    )


def combine_hours(parts: Sequence[pa.Table]) -> pa.Table:
    """Combine the hours and compute the vwap by integer division, rounded half up, for all engines."""
    rows = [row for part in parts for row in part.to_pylist()]
    found: dict[str, list[Any]] = {name: [] for name in RESULT_SCHEMA.names}
    for row in rows:
        volume, notional = int(row["volume"]), int(row["notional"])
        whole, rest = divmod(notional, volume)
        found["vwap"].append(whole + (2 * rest >= volume))
        found["volume"].append(volume)
        for name in RESULT_SCHEMA.names[:8]:
            found[name].append(row[name] if name in ("symbol", "exchange") else int(row[name]))
    keys = [(name, "ascending") for name in ("symbol", "exchange", "window_start")]
    return pa.table(found, schema=RESULT_SCHEMA).sort_by(keys)


# Amounts are integers in units of 10^-8.
RESULT_SCHEMA = pa.schema(
    [
        ("symbol", pa.string()),
        ("exchange", pa.string()),
        *((name, pa.int64()) for name in ("window_start", "open", "high", "low", "close", "trade_count")),
        ("volume", pa.int64()),
        ("vwap", pa.int64()),
    ]
)


class Engine(ABC):
    """An engine that computes candles from Parquet files."""

    def candles(self, hours: Hours, length: int) -> pa.Table:
        """Return the candles of windows whose length divides an hour."""
        return combine_hours([self.aggregate_hour(hour, hours[hour], length) for hour in sorted(hours)])

    @abstractmethod
    def aggregate_hour(self, hour: int, files: Sequence[str], length: int) -> pa.Table:
        """Return the aggregates of the windows of an hour, with amounts in units of 10^-8."""


class DuckDB(Engine):
    """DuckDB, which is also the engine of the validation."""

    def __init__(self) -> None:
        import duckdb

        self._connection = duckdb.connect()
        self._connection.execute("SET threads = 1")

    def aggregate_hour(self, hour: int, files: Sequence[str], length: int) -> pa.Table:
        """Run the common plan. Decimals are widened, because DuckDB rejects products of two 18-digit decimals."""
        run = self._connection.execute
        run(
            f'CREATE OR REPLACE TEMP TABLE trades AS SELECT {COLUMNS}, "timestamp" AS ts, hash({IDENTITY}) AS hash '
            f"FROM read_parquet({list(files)}) WHERE {valid_trade_condition(hour)}"
        )
        run("CREATE OR REPLACE TEMP TABLE repeated AS SELECT hash FROM trades GROUP BY hash HAVING count(*) > 1")
        if run("SELECT count(*) FROM repeated").fetchone() != (0,):
            run(
                "DELETE FROM trades WHERE rowid IN (SELECT row FROM "
                "(SELECT *, trades.rowid AS row FROM trades SEMI JOIN repeated USING (hash)) "
                f"QUALIFY row_number() OVER (PARTITION BY {IDENTITY} ORDER BY {VERSION}) > 1)"
            )
        window = f"ts // {length} * {length}"
        amount = "CAST({0} AS DECIMAL(19, 8))"
        run(
            f"CREATE OR REPLACE TEMP TABLE totals AS SELECT symbol, exchange, {window} AS window_start, "
            "min(ts) AS first_ts, max(ts) AS last_ts, max(price) AS high, min(price) AS low, "
            "sum(CAST(quantity AS DECIMAL(28, 8))) AS volume, count(*) AS trade_count, "
            f"sum({amount.format('price')} * {amount.format('quantity')}) AS notional FROM trades GROUP BY ALL"
        )
        key = f"struct_pack({', '.join(f'k{n} := {part}' for n, part in enumerate(ORDER.split(', ')))})"
        units = "CAST(CAST({0} AS DECIMAL(28, 8)) * 100000000 AS BIGINT) AS {0}"
        return self._connection.sql(
            "WITH ends AS (SELECT DISTINCT symbol, exchange, unnest([first_ts, last_ts]) AS ts FROM totals), "
            "edge AS (SELECT trades.*, coalesce(trade_id, message_id) AS id, "
            "regexp_full_match(coalesce(trade_id, message_id), '[0-9]+') AS is_number "
            "FROM trades SEMI JOIN ends USING (symbol, exchange, ts)), "
            "keyed AS (SELECT *, CASE WHEN is_number THEN ltrim(id, '0') ELSE id END AS number, "
            "CASE WHEN is_number THEN length(ltrim(id, '0')) ELSE 0 END AS digits FROM edge), "
            f"prices AS (SELECT symbol, exchange, {window} AS window_start, arg_min(price, {key}) AS open, "
            f"arg_max(price, {key}) AS close FROM keyed GROUP BY ALL) "
            f"SELECT symbol, exchange, window_start, {', '.join(map(units.format, ('open', 'high', 'low', 'close')))}, "
            "trade_count, CAST(volume * 100000000 AS HUGEINT)::VARCHAR AS volume, "
            "replace(CAST(notional AS VARCHAR), '.', '') AS notional "
            "FROM totals JOIN prices USING (symbol, exchange, window_start)"
        ).to_arrow_table()


class Polars(Engine):
    """Polars. Decimals are computed as integers, because Polars rounds products of decimals."""

    def __init__(self) -> None:
        os.environ["POLARS_MAX_THREADS"] = "1"
        import polars

        self._pl = polars

    def aggregate_hour(self, hour: int, files: Sequence[str], length: int) -> pa.Table:
        """Run the common plan."""
        pl = self._pl
        identity = ["exchange", "symbol", "trade_id", "message_identity"]
        key, series = ["symbol", "exchange", "window_start"], ["symbol", "exchange"]
        message = pl.when(pl.col("trade_id").is_null()).then("message_id").alias("message_identity")
        trades = (
            pl.scan_parquet(list(files), hive_partitioning=False)
            .filter(pl.sql_expr(valid_trade_condition(hour)))
            .select(*COLUMNS.split(", "), pl.col("timestamp").alias("ts"), message)
            .with_columns(
                pl.col("price", "quantity").to_physical().cast(pl.Int128),
                (pl.col("ts") // length * length).alias("window_start"),
            )
            .collect()
        )
        repeated = trades.with_columns(pl.struct(identity).hash().alias("hash")).with_row_index("row")
        again = repeated.filter(pl.col("hash").is_duplicated())
        if len(again):
            version = ["ingestion_timestamp", "platform_sequence", "message_id", "ts", "source_sequence", "price"]
            version += ["quantity"]
            latest = again.sort(version, descending=True, nulls_last=True).unique(identity, keep="first")
            superseded = again.join(latest.select("row"), on="row", how="anti").select("row")
            trades = repeated.join(superseded, on="row", how="anti")
        totals = trades.group_by(key).agg(
            pl.col("ts").min().alias("first_ts"),
            pl.col("ts").max().alias("last_ts"),
            pl.col("price").max().alias("high"),
            pl.col("price").min().alias("low"),
            pl.col("quantity").sum().alias("volume"),
            pl.len().alias("trade_count"),
            (pl.col("price") * pl.col("quantity")).sum().alias("notional"),
        )
        ends = pl.concat([totals.select(*series, pl.col(name).alias("ts")) for name in ("first_ts", "last_ts")])
        identifier = pl.coalesce("trade_id", "message_id")
        digits = pl.col("id").str.strip_chars_start("0")
        prices = (
            trades.join(ends.unique(), on=[*series, "ts"], how="semi")
            .with_columns(identifier.alias("id"), (~identifier.str.contains(r"^[0-9]+$")).alias("kind"))
            .with_columns(
                pl.when("kind").then(pl.lit(0)).otherwise(digits.str.len_bytes()).alias("digits"),
                pl.when("kind").then("id").otherwise(digits).alias("number"),
            )
            .sort("ts", "source_sequence", "kind", "digits", "number", "id", "price", nulls_last=False)
            .group_by(key, maintain_order=True)
            .agg(pl.col("price").first().alias("open"), pl.col("price").last().alias("close"))
        )
        found = totals.join(prices, on=key).select(
            *key,
            pl.col("open", "high", "low", "close", "trade_count").cast(pl.Int64),
            pl.col("volume", "notional").cast(pl.String),
        )
        return pa.table(found.to_arrow())


class ClickHouse(Engine):
    """ClickHouse in process. Decimals are computed as integers."""

    def __init__(self) -> None:
        from chdb import session

        self._session = session.Session()

    def _run(self, statement: str, form: str = "CSV") -> Any:
        return self._session.query(f"{statement} SETTINGS max_threads = 1, join_use_nulls = 1", form)

    def aggregate_hour(self, hour: int, files: Sequence[str], length: int) -> pa.Table:
        """Run the common plan, but with argMin over the total order instead of a second pass over the edges."""
        hash_of = (
            "cityHash64(exchange, symbol, ifNull(trade_id, ''), trade_id IS NULL, "
            "if(trade_id IS NULL, ifNull(message_id, ''), ''))"
        )
        select = " UNION ALL ".join(
            f"SELECT {COLUMNS}, timestamp AS ts, {hash_of} AS hash FROM file('{file}', Parquet) "
            f"WHERE {valid_trade_condition(hour).replace(chr(34), '')}"
            for file in files
        )
        self._run("DROP TABLE IF EXISTS trades")
        self._run(f"CREATE TABLE trades ENGINE = Memory AS {select}")
        repeated = "(SELECT hash FROM trades GROUP BY hash HAVING count() > 1)"
        source = "trades"
        if int(str(self._run(f"SELECT count() FROM {repeated}")).strip()):
            identity = "exchange, symbol, trade_id, if(trade_id IS NULL, message_id, NULL)"
            self._run("DROP TABLE IF EXISTS repeated")
            self._run(f"CREATE TABLE repeated ENGINE = Memory AS {repeated[1:-1]}")
            source = (
                "(SELECT * FROM trades WHERE hash NOT IN (SELECT hash FROM repeated) UNION ALL "
                "SELECT * FROM (SELECT * FROM trades WHERE hash IN (SELECT hash FROM repeated) "
                f"ORDER BY {VERSION} LIMIT 1 BY {identity}))"
            )
        number = "match(id, '^[0-9]+$')"
        digits = "trim(LEADING '0' FROM id)"
        order = (
            f"(ts, source_sequence IS NOT NULL, ifNull(source_sequence, 0), NOT {number}, "
            f"if({number}, length({digits}), 0), if({number}, {digits}, id), id, price)"
        )
        raw = "reinterpretAsInt64({0})"
        units = {name: raw.format(f"assumeNotNull({name})") for name in ("price", "quantity")}
        answered = self._run(
            f"SELECT symbol, exchange, intDiv(ts, {length}) * {length} AS window_start, "
            f"argMin({units['price']}, {order}) AS open, max({units['price']}) AS high, "
            f"min({units['price']}) AS low, argMax({units['price']}, {order}) AS close, "
            f"toInt64(count()) AS trade_count, toString(sum(toInt128({units['quantity']}))) AS volume, "
            f"toString(sum(toInt128({units['price']}) * toInt128({units['quantity']}))) AS notional "
            f"FROM (SELECT *, ifNull(trade_id, assumeNotNull(message_id)) AS id FROM {source}) "
            "GROUP BY symbol, exchange, window_start",
            "ArrowTable",
        )
        return pa.table(answered)


class DataFusion(Engine):
    """DataFusion, the SQL engine of Arrow in Rust."""

    def __init__(self) -> None:
        from datafusion import SessionConfig, SessionContext

        self._context = SessionContext(SessionConfig().with_target_partitions(1))

    def _keep(self, name: str, query: str) -> int:
        """Run a query, store its rows under a name if there are any, and return their number."""
        found = self._context.sql(query).collect()
        rows = sum(len(batch) for batch in found)
        if rows:
            if self._context.table_exist(name):
                self._context.deregister_table(name)
            self._context.register_record_batches(name, [found])
        return rows

    def aggregate_hour(self, hour: int, files: Sequence[str], length: int) -> pa.Table:
        """Run the common plan, but find duplicates by the identity itself instead of a hash."""
        context = self._context
        for number in range(2):
            if context.table_exist(f"file{number}"):
                context.deregister_table(f"file{number}")
        for number, file in enumerate(files):
            context.register_parquet(f"file{number}", file)
        union = " UNION ALL ".join(
            f'SELECT {COLUMNS}, "timestamp" AS ts FROM file{number} WHERE {valid_trade_condition(hour)}'
            for number in range(len(files))
        )
        # Nulls become empty strings, so that an equality join finds them. At worst a trade is checked needlessly.
        texts = "coalesce(trade_id, '') AS own, CASE WHEN trade_id IS NULL THEN message_id ELSE '' END AS message"
        self._keep("trades", f"SELECT *, {texts} FROM ({union})")
        identity, source = "exchange, symbol, own, message", "trades"
        if self._keep("repeated", f"SELECT {identity} FROM trades GROUP BY {identity} HAVING count(*) > 1"):
            joined = f"JOIN repeated r ON {' AND '.join(f't.{n} = r.{n}' for n in identity.split(', '))}"
            self._keep(
                "once",
                f"SELECT t.* FROM trades t LEFT ANTI {joined} UNION ALL SELECT * EXCLUDE (place) FROM "
                f"(SELECT t.*, row_number() OVER (PARTITION BY {IDENTITY} ORDER BY {VERSION}) AS place "
                f"FROM (SELECT t.* FROM trades t LEFT SEMI {joined}) t) WHERE place = 1",
            )
            source = "once"
        window = f"ts / {length} * {length}"
        units = "CAST({0} * 100000000 AS DECIMAL(19, 0))"
        self._keep(
            "totals",
            f"SELECT symbol, exchange, {window} AS window_start, min(ts) AS first_ts, max(ts) AS last_ts, "
            "max(price) AS high, min(price) AS low, sum(quantity) AS volume, count(*) AS trade_count, "
            f"sum(price * quantity) AS notional FROM {source} GROUP BY symbol, exchange, {window}",
        )
        self._keep(
            "edge",
            "SELECT t.symbol, t.exchange, totals.window_start, t.price, t.ts, t.source_sequence, "
            "coalesce(t.trade_id, t.message_id) AS id, "
            "NOT regexp_like(coalesce(t.trade_id, t.message_id), '^[0-9]+$') AS kind "
            f"FROM {source} t JOIN totals ON t.symbol = totals.symbol AND t.exchange = totals.exchange "
            f"AND t.ts / {length} * {length} = totals.window_start AND (t.ts = first_ts OR t.ts = last_ts)",
        )
        order = (
            "ts {0}, source_sequence {0} NULLS {1}, kind {0}, "
            "CASE WHEN kind THEN 0 ELSE length(ltrim(id, '0')) END {0}, "
            "CASE WHEN kind THEN id ELSE ltrim(id, '0') END {0}, id {0}, price {0}"
        )
        raw = ", ".join(f"CAST({units.format(name)} AS BIGINT) AS {name}" for name in ("open", "high", "low", "close"))
        found = context.sql(
            "WITH prices AS (SELECT symbol, exchange, window_start, "
            f"first_value(price ORDER BY {order.format('ASC', 'FIRST')}) AS open, "
            f"first_value(price ORDER BY {order.format('DESC', 'LAST')}) AS close "
            "FROM edge GROUP BY symbol, exchange, window_start) "
            f"SELECT totals.symbol, totals.exchange, totals.window_start, {raw}, trade_count, "
            "replace(CAST(volume AS VARCHAR), '.', '') AS volume, "
            "replace(CAST(notional AS VARCHAR), '.', '') AS notional FROM totals "
            "JOIN prices ON totals.symbol = prices.symbol AND totals.exchange = prices.exchange "
            "AND totals.window_start = prices.window_start"
        )
        return found.to_arrow_table()


ENGINES: dict[str, type[Engine]] = {"duckdb": DuckDB, "polars": Polars, "chdb": ClickHouse, "datafusion": DataFusion}


if __name__ == "__main__":
    # All threads of the engine inherit the affinity, so that it uses one core.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    serve(ENGINES[sys.argv[1]](), sys.argv[2])
