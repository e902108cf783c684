"""Cost of trades tables of other shapes: a scheduled run in local mode without changes, with a late hour, compacted.

All tables contain the same day of trades: the contract's table, one by hour, one by day, and one without partitions.
Files of the last two contain several hours, so a run reads the rows of changed files to find the hours that changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform, HourTransform
from pyiceberg.types import DoubleType, LongType, NestedField, PrimitiveType, StringType, TimestamptzType

from benchmarks.bench_catalog import BenchCatalog
from benchmarks.harness import Bench, Cost, Grid, Section, measure_interleaved, median, require_equal
from benchmarks.processes import home_environment, measure_job
from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import open_catalog
from ohlcv.ingest.sample_data import sample_trades
from ohlcv.model.intervals import HOUR, Range
from ohlcv.spark.spark_submit import LOCAL_MASTER, build_job, sql_job

TRADES = 3_000_000
END = datetime(2026, 1, 31, tzinfo=UTC)
DAY = Range(END - timedelta(days=1), END)
LATE_HOUR = END - 20 * HOUR
TIMEFRAME = "1m"
NAME, STAGING = ("market_data", "gold_crypto_trades"), ("market_data", "staging")
MAPPING = """
timestamp: {time}
price: px
quantity: qty
symbol: pair
exchange: venue
trade_id: id
source_sequence: seq
ingestion_timestamp: {{column: loaded, unit: us}}
"""


@dataclass(frozen=True)
class Layout:
    """A trades table: the unit of its timestamp (None: an Iceberg timestamp) and its partitions."""

    unit: str | None
    partitions: PartitionSpec


LAYOUTS = {
    "hour(ts)": Layout(None, PartitionSpec(PartitionField(1, 1000, HourTransform(), "hour"))),
    "day(ts)": Layout(None, PartitionSpec(PartitionField(1, 1000, DayTransform(), "day"))),
    "unpartitioned": Layout("ns", UNPARTITIONED_PARTITION_SPEC),
}
CONTRACT = "contract"
UNCHANGED, LATE, COMPACTED = "no change", "a late hour", "compacted"
COMPACTION = (
    "CALL system.rewrite_data_files(table => 'market_data.gold_crypto_trades', options => map('rewrite-all', 'true'))"
)


class MappedCatalog(BenchCatalog):
    """A catalog whose trades table has another shape."""

    def __init__(self, home: Path, layout: Layout) -> None:
        super().__init__(home)
        self.layout = layout
        mapping = home / "mapping.yaml"
        mapping.write_text(MAPPING.format(time=f"{{column: ts, unit: {layout.unit}}}" if layout.unit else "ts"))
        self.settings = load_settings({"OHLCV_HOME": str(home), "OHLCV_TRADES_MAPPING": str(mapping)})
        time = LongType() if layout.unit else TimestamptzType()
        columns: dict[str, PrimitiveType] = {
            "ts": time,
            "pair": StringType(),
            "venue": StringType(),
            "id": StringType(),
        }
        columns |= {"px": DoubleType(), "qty": DoubleType(), "seq": LongType(), "loaded": LongType()}
        fields = [NestedField(n, name, kind, required=False) for n, (name, kind) in enumerate(columns.items(), 1)]
        catalog = open_catalog(self.settings)
        catalog.drop_table(NAME)
        self.schema = Schema(*fields)
        catalog.create_table(NAME, self.schema, partition_spec=layout.partitions)

    def append_trades(self, trades: pa.Table) -> None:
        """Append trades of the contract."""
        time = trades["timestamp"]
        columns = {
            "ts": pc.multiply(time, 1000) if self.layout.unit else time.cast(pa.timestamp("us", "UTC")),
            "pair": trades["symbol"],
            "venue": trades["exchange"],
            "id": trades["trade_id"],
            "px": trades["price"].cast(pa.float64()),
            "qty": trades["quantity"].cast(pa.float64()),
            "seq": trades["source_sequence"],
            "loaded": trades["ingestion_timestamp"],
        }
        # pyiceberg does not write partitions of hours and days.
        catalog = open_catalog(self.settings)
        catalog.create_table(STAGING, self.schema).append(pa.table(columns).cast(self.schema.as_arrow()))
        _sql(self, f"INSERT INTO {'.'.join(NAME)} SELECT * FROM {'.'.join(STAGING)}")
        catalog.drop_table(STAGING)


def measure(bench: Bench) -> Section:
    """Measure a run without changes and one with a late hour on each layout."""
    trades = sample_trades(TRADES // (20 if bench.quick else 1), 24, END)
    is_late = pc.and_(
        pc.greater_equal(trades["timestamp"], int(LATE_HOUR.timestamp()) * 10**6),
        pc.less(trades["timestamp"], int((LATE_HOUR + timedelta(seconds=1)).timestamp()) * 10**6),
    )
    first, late = trades.filter(pc.invert(is_late)), trades.filter(is_late)
    catalogs: dict[str, BenchCatalog] = {CONTRACT: BenchCatalog(bench.folder_for("mapped contract") / "home")}
    catalogs |= {
        name: MappedCatalog(bench.folder_for(f"mapped {number}") / "home", layout)
        for number, (name, layout) in enumerate(LAYOUTS.items())
    }
    kinds: dict[str, dict[str, Callable[[], Cost]]] = {UNCHANGED: {}, LATE: {}, COMPACTED: {}}
    expected = None
    for name, catalog in catalogs.items():
        _append(catalog, first)
        _run(catalog, DAY)
        kinds[UNCHANGED][name] = _Measured(catalog, catalog.save_state())
        _append(catalog, late)
        kinds[LATE][name] = _Measured(catalog, catalog.save_state())
        _run(catalog, _newest())
        found = catalog.candles(TIMEFRAME, DAY)
        expected = found if expected is None else expected
        require_equal(f"a table {name}", True, expected.equals(found))
        _sql(catalog, COMPACTION)
        kinds[COMPACTED][name] = _Measured(catalog, catalog.save_state())
    section = Section("mapped tables")
    costs = {kind: measure_interleaved(runs, bench.repeats, kind) for kind, runs in kinds.items()}
    grid = Grid(
        f"Scheduled {TIMEFRAME} runs in local mode on {len(first):,} trades of a day",
        ("trades table", *(f"{kind}: {figure} s" for kind in kinds for figure in ("wall", "cpu"))),
    )
    for name in catalogs:
        medians = [median(costs[kind][name]) for kind in kinds]
        grid.rows.append((name, *(figure for each in medians for figure in (each.wall, each.processor))))
    for kind, found_costs in costs.items():
        section.add_measurements(kind, found_costs)
    section.grids.append(grid)
    return section


@dataclass(frozen=True)
class _Measured:
    """A run of the newest windows from one state of the tables."""

    catalog: BenchCatalog
    state: Mapping[str, str]

    def __call__(self) -> Cost:
        self.catalog.restore_state(dict(self.state))
        return _run(self.catalog, _newest())


def _newest() -> Range:
    return Range(END - timedelta(minutes=10), END)


def _append(catalog: BenchCatalog, trades: pa.Table) -> None:
    if isinstance(catalog, MappedCatalog):
        catalog.append_trades(trades)
    else:
        catalog.append(trades)


def _sql(catalog: BenchCatalog, statement: str) -> None:
    measure_job(sql_job(catalog.settings, [statement], 1), LOCAL_MASTER, home_environment(catalog.settings), None)


def _run(catalog: BenchCatalog, own_range: Range) -> Cost:
    settings = catalog.settings
    environment = home_environment(settings)
    if isinstance(catalog, MappedCatalog):
        environment["OHLCV_TRADES_MAPPING"] = str(settings.home / "mapping.yaml")
    job = build_job(settings, TIMEFRAME, own_range, rebuild_pending=True)
    return measure_job(job, LOCAL_MASTER, environment, None)
