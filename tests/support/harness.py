"""Test harness: a warehouse in which tests load trades, run the real job and read what it stored."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.table import Table
from pyspark.sql import SparkSession, functions

from ohlcv.config.execution import NATIVE_PROPERTY, Engine
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.snapshot_summary import main_snapshots
from ohlcv.iceberg.tables import create_tables, extend, load_table, open_catalog
from ohlcv.model.intervals import EPOCH, MICROSECOND, Range, from_microseconds, to_microseconds
from ohlcv.model.source_checkpoint import SourceCheckpoint
from ohlcv.model.table_contracts import MEASURES, TableContract
from ohlcv.spark.jars import jar_paths, library_folder
from ohlcv.spark.toolchain import spark_environment
from spark_jobs.iceberg.table_metadata import load_table as load_java_table
from spark_jobs.iceberg.table_metadata import read_checkpoint, table_name
from spark_jobs.jobs.build_candles import build
from spark_jobs.jobs.rebuild import Request
from spark_jobs.runtime.session import SESSION_CONF, catalog_properties
from support.profiles import profile_properties
from support.reference_model import Candle, Measures, ReferenceResult, Trade, reference_candles, reference_measures

# Properties of native.properties that plans and results can depend on, for a session that can run on both engines.
_OF_PLANS = ("spark.plugins", "spark.shuffle.", "spark.memory.", "spark.sql.", "spark.comet.")
NATIVE_CONF: dict[str, Any] = {"spark.memory.offHeap.size": "1g"} | {
    name: value for name, value in profile_properties("native").items() if name.startswith(_OF_PLANS)
}
WIDTHS = {"1m": 60, "5m": 300, "30m": 1800, "1h": 3600, "1d": 86400}


@contextmanager
def spark_session(folder: Path, engine: Engine = "jvm") -> Iterator[SparkSession]:
    """Yield a Spark session for a small machine: one shuffle partition, no web UI. Jobs and queries use the engine."""
    os.environ.update(spark_environment())
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.extraClassPath", ":".join(str(path) for path in jar_paths("native")))
        .config(map=NATIVE_CONF)
        # One session serves all tests; one of them opens 400 files at once.
        .config("spark.driver.memory", "3g")
        # Spark keeps executed queries with their plans for its web UI, which is off.
        .config("spark.sql.ui.retainedExecutions", "1")
        .config("spark.ui.retainedJobs", "10")
        .config("spark.ui.retainedStages", "10")
        # Hundreds of queries repay the optimizing compiler: 92 s instead of 129 s for test_late_trades.py.
        .config("spark.driver.extraJavaOptions", f"-XX:+UseSerialGC -Djava.library.path={library_folder()}")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.log.level", "ERROR")
        .config(map=dict(SESSION_CONF))
        .config(NATIVE_PROPERTY, str(engine == "native").lower())
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.warehouse.dir", str(folder / "spark-warehouse"))
        .config("spark.sql.extensions", load_settings({}).catalog.spark_properties()["spark.sql.extensions"])
        .getOrCreate()
    )
    yield session
    session.stop()


def is_native(spark: SparkSession) -> bool:
    """Return whether the queries of a session are planned for the native engine."""
    return spark.conf.get(NATIVE_PROPERTY, "false") == "true"


@dataclass(frozen=True)
class Stored:
    """A stored candle with its write times."""

    candle: Candle
    created_at: datetime
    updated_at: datetime
    # None: the table or the candle has none.
    measures: Measures | None = None


Key = tuple[str, str, int]


class Harness:
    """A catalog with its tables, and a Spark session connected to this catalog only."""

    def __init__(self, spark: SparkSession, home: Path, environment: Mapping[str, str] | None = None) -> None:
        engine = "native" if is_native(spark) else "jvm"
        modes = {"OHLCV_EXECUTION": engine, "OHLCV_REPROCESS_EXECUTION": engine}
        self.settings: Settings = load_settings({"OHLCV_HOME": str(home), **modes, **(environment or {})})
        create_tables(self.settings)
        self.spark = spark
        self.connect()
        self.trades: list[Trade] = []

    def connect(self, properties: Mapping[str, str] | None = None) -> None:
        """Open the catalog as a new process does, with connections of its own, and with further properties."""
        self.spark = self.spark.newSession()
        for name, value in catalog_properties(self.settings).items():
            if name != "spark.sql.extensions":  # cannot change after Spark has started
                self.spark.conf.set(name, value)
        for name, value in (properties or {}).items():
            self.spark.conf.set(f"spark.sql.catalog.{self.settings.catalog.name}.{name}", value)
        self.activate()

    def activate(self) -> None:
        """Let Iceberg's Java code find this catalog, through the active session: that of the newest harness."""
        jvm: Any = self.spark.sparkContext._jvm
        jvm.org.apache.spark.sql.classic.SparkSession.setActiveSession(self.spark._jsparkSession)

    def table(self, timeframe: str | None = None) -> Table:
        """Return the candle table of a timeframe, by default the trades table."""
        return load_table(open_catalog(self.settings), self._contract(timeframe))

    def _contract(self, timeframe: str | None) -> TableContract:
        settings = self.settings
        return settings.candles_contract(settings.timeframe(timeframe)) if timeframe else settings.trades_contract

    def load(self, *batches: Iterable[Trade]) -> None:
        """Append each batch of trades in a commit of its own."""
        for batch in batches:
            trades = list(batch)
            append(self.table(), trades)
            self.trades += trades

    def sql(self, statement: str) -> None:
        """Run a Spark SQL statement; {trades} is replaced by the name of the trades table."""
        self.spark.sql(statement.format(trades=table_name(self.spark, self._contract(None)))).collect()

    def extend(self, *timeframes: str) -> None:
        """Add the measures to candle tables."""
        for name in timeframes:
            extend(self.settings, self.settings.candles_contract(self.settings.timeframe(name)))

    def overwrite(self, timeframe: str, rows: list[dict[str, Any]]) -> None:
        """Replace the rows of a candle table without running the job."""
        name = table_name(self.spark, self._contract(timeframe))
        schema = self.spark.table(name).schema
        values = [[row[field.name] for field in schema] for row in rows]
        # Spark interprets times without a zone as local times; these have a zone.
        self.spark.createDataFrame(values, schema).coalesce(1).writeTo(name).overwrite(functions.lit(True))

    def build(
        self,
        timeframe: str,
        start: datetime,
        end: datetime,
        *,
        rebuild_pending: bool = False,
        prune: bool = False,
        new_source: bool = False,
        dag_id: str = "",
        run_id: str = "",
    ) -> dict[str, Any]:
        """Run the build job for a range and return its report."""
        request = Request(
            self.settings.timeframe(timeframe),
            Range(start, end),
            rebuild_pending=rebuild_pending,
            prune=prune,
            new_source=new_source,
            dag_id=dag_id,
            run_id=run_id,
        )
        return build(self.spark, self.settings, request)

    def stored(self, timeframe: str) -> dict[Key, Stored]:
        """Return all candles of a timeframe; a key stored twice is an error."""
        return read_stored_candles(self.table(timeframe))

    def candles(self, timeframe: str) -> dict[Key, Candle]:
        """Return all candles of a timeframe without their write times."""
        return {key: stored.candle for key, stored in self.stored(timeframe).items()}

    def measures(self, timeframe: str) -> dict[Key, Measures | None]:
        """Return the measures of all candles of a timeframe."""
        return {key: stored.measures for key, stored in self.stored(timeframe).items()}

    def expected_measures(self, timeframe: str, *ranges: tuple[datetime, datetime]) -> dict[Key, Measures | None]:
        """Return the reference measures of the ranges, computed from every trade loaded so far."""
        spans = [(to_microseconds(start), to_microseconds(end)) for start, end in ranges]
        return {**reference_measures(self.trades, WIDTHS[timeframe] * 1_000_000, spans)}

    def expected(self, timeframe: str, *ranges: tuple[datetime, datetime], wide: bool = False) -> ReferenceResult:
        """Return the reference candles of the ranges, computed from every trade loaded so far."""
        spans = [(to_microseconds(start), to_microseconds(end)) for start, end in ranges]
        return reference_candles(
            self.trades, WIDTHS[timeframe] * 1_000_000, spans, amount_limit=None if wide else 10**10
        )

    def snapshots(self, timeframe: str | None = None) -> list[int]:
        """Return the ids of a table's published snapshots, oldest first."""
        return published_ids(self.table(timeframe))

    def summary(self, timeframe: str) -> dict[str, str]:
        """Return the ohlcv.* entries of the newest snapshot summary."""
        snapshot = self.table(timeframe).current_snapshot()
        assert snapshot is not None
        assert snapshot.summary is not None
        properties = snapshot.summary.additional_properties
        return {name: value for name, value in properties.items() if name.startswith("ohlcv.")}

    def checkpoint(self, timeframe: str) -> SourceCheckpoint:
        """Return the source checkpoint of a candle table."""
        return read_checkpoint(load_java_table(self.spark, self._contract(timeframe)))


def append(table: Table, trades: Iterable[Trade], properties: Mapping[str, str] | None = None) -> None:
    """Append trades in one commit, with properties of its snapshot."""
    rows = [{**asdict(trade), "asset_class": "crypto"} for trade in trades]
    if rows:
        arrow = pa.Table.from_pylist(rows, schema=table.schema().as_arrow())
        table.append(arrow, snapshot_properties=dict(properties or {}))


def published_ids(table: Table) -> list[int]:
    """Return the ids of a table's published snapshots, oldest first."""
    return [snapshot.snapshot_id for snapshot in main_snapshots(table)][::-1]


def read_stored_candles(table: Table) -> dict[Key, Stored]:
    """Return all candles of a table; a key stored twice is an error."""
    found: dict[Key, Stored] = {}
    for row in table.scan().to_arrow().to_pylist():
        stored = row_to_stored(row)
        key = (stored.candle.symbol, stored.candle.exchange, stored.candle.window_start_us)
        assert key not in found, f"{key} is stored twice"
        assert row["window_date"] == row["window_start"].date()
        found[key] = stored
    return found


def candles_of(rows: Iterable[Mapping[str, Any]]) -> list[Candle]:
    """Return the candles of rows of a candle table."""
    return [row_to_stored(row).candle for row in rows]


def trade(
    time: datetime,
    price: str | Decimal = "100",
    quantity: str | Decimal = "1",
    *,
    trade_id: str | None = "",
    symbol: str | None = "BTC-USD",
    exchange: str | None = "kraken",
    ingested: datetime | None = None,
    message_id: str | None = "",
    sequence: int | None = None,
    partition: datetime | None = None,
    side: str | None = None,
) -> Trade:
    """Return a trade; empty ids are generated from its time, and `partition` is the hour under which it is stored."""
    microseconds = to_microseconds(time)
    partition = partition or time
    trade_id = f"{microseconds}" if trade_id == "" else trade_id
    return Trade(
        message_id=f"m-{symbol}-{exchange}-{trade_id}-{price}-{quantity}-{microseconds}"
        if message_id == ""
        else message_id,
        trade_id=trade_id,
        symbol=symbol,
        exchange=exchange,
        timestamp=microseconds,
        price=Decimal(price),
        quantity=Decimal(quantity),
        source_sequence=sequence,
        ingestion_timestamp=to_microseconds(ingested or time + timedelta(seconds=1)),
        platform_sequence=None,
        exchange_date=partition.date(),
        exchange_hour=partition.hour,
        side=side,
    )


def at(text: str) -> datetime:
    """Return the UTC time of a text such as 2026-03-01 12:00."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def total_changes(counts: Mapping[str, int]) -> int:
    """Return the number of candles that a run changed."""
    return sum(Counter(counts)[action] for action in ("inserted", "updated", "deleted"))


def row_to_stored(row: Mapping[str, Any]) -> Stored:
    """Return the stored candle in a row of a candle table."""

    def micros(name: str) -> int:
        return int((row[name] - EPOCH) // MICROSECOND)

    assert from_microseconds(micros("window_start")) == row["window_start"]
    candle = Candle(
        symbol=row["symbol"],
        exchange=row["exchange"],
        window_start_us=micros("window_start"),
        window_end_us=micros("window_end"),
        open=row["open_price"],
        high=row["high_price"],
        low=row["low_price"],
        close=row["close_price"],
        volume=row["volume"],
        trade_count=row["trade_count"],
        vwap=row["vwap"],
    )
    return Stored(candle, row["created_at"], row["updated_at"], _measures(row))


def _measures(row: Mapping[str, Any]) -> Measures | None:
    values: dict[str, Any] = {name: row.get(name) for name in MEASURES}
    # A candle has all measures or none. Only the sides of its trades may be unknown.
    always = [values[name] is not None for name in ("quote_volume", "first_trade_at", "last_trade_at")]
    takers = [values[name] is not None for name in ("taker_buy_volume", "taker_buy_quote_volume")]
    if not any(always + takers):
        return None
    assert all(always)
    assert all(takers) or not any(takers)
    values |= {name: to_microseconds(values[name]) for name in ("first_trade_at", "last_trade_at")}
    return Measures(**values)
