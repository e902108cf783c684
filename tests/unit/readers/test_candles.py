"""Reading candles: what `read_candles` answers and reads, and what the `candles` command makes of it.

The tables are real Iceberg tables in an embedded catalog.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from pyiceberg.table import DataScan

from ohlcv.cli.candles import candles
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg import tables as iceberg_tables
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.table_contracts import candles_contract
from ohlcv.model.timeframes import Timeframe, get_timeframe
from ohlcv.readers.candles import read_candles
from ohlcv.readers.latest import LOOKBACK_PARTITIONS, recent_series

MINUTE = get_timeframe("1m")
HOURS = get_timeframe("1h")
DAYS = get_timeframe("1d")
BUILT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
COLUMNS = candles_contract(MINUTE).column_names

Row = dict[str, Any]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def candle(of: Timeframe, start: str | datetime, close: str = "1", symbol: str = "BTC", exchange: str = "X") -> Row:
    """Make a candle whose numbers all differ, so that a mixed-up column shows."""
    start = at(start) if isinstance(start, str) else start
    price = Decimal(close)
    return {
        "symbol": symbol,
        "exchange": exchange,
        "window_start": start,
        "window_end": start + of.length,
        "window_date": start.date(),
        "open_price": price + 1,
        "high_price": price + 2,
        "low_price": price - Decimal("0.5"),
        "close_price": price,
        "volume": Decimal("7.5"),
        "trade_count": 3,
        "vwap": price + Decimal("0.25"),
        "created_at": BUILT,
        "updated_at": BUILT + timedelta(minutes=1),
    }


def filled(of: Timeframe, start: str, close: str, symbol: str = "BTC", exchange: str = "X") -> Row:
    """Make the row a reader fills in."""
    price = Decimal(close)
    return {
        **candle(of, start, close, symbol, exchange),
        **dict.fromkeys(("open_price", "high_price", "low_price"), price),
        **{"volume": Decimal(0), "trade_count": 0, "vwap": None, "created_at": None, "updated_at": None},
        "filled": True,
    }


def kept(row: Row) -> Row:
    return {**row, "filled": False}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = load_settings({"OHLCV_HOME": str(tmp_path / "home")})
    iceberg_tables.create_tables(settings)
    return settings


def write(settings: Settings, of: Timeframe, *rows: Row) -> None:
    """Add rows, a file for each partition.

    As `add_files`: `append` would need pyiceberg-core to partition by day and month, which the product never does
    without Spark.
    """
    table = iceberg_tables.load_table(iceberg_tables.open_catalog(settings), candles_contract(of))
    schema = pa.schema([(field.name, field.type) for field in table.schema().as_arrow()])
    partitions: dict[str, list[Row]] = {}
    for row in rows:
        name = row["window_date"].isoformat()
        partitions.setdefault(name if of.partition == "day" else name[:7], []).append(row)
    files = []
    for name, some in partitions.items():
        file = settings.home / f"{of.table}-{name}-{uuid4()}.parquet"
        pq.write_table(pa.Table.from_pylist(some, schema=schema), file)
        files.append(file.as_uri())
    table.add_files(files, check_duplicate_files=False)


def starts(table: pa.Table) -> list[str]:
    return [time.strftime("%Y-%m-%dT%H:%M") for time in table["window_start"].to_pylist()]


# The columns of a scan, and the partitions of the files it plans, as Iceberg numbers them.
Read = tuple[tuple[str, ...], list[int]]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Read]:
    """Note every scan that reads files."""
    noted: list[Read] = []
    original = DataScan.to_arrow

    def noting(scan: DataScan, *arguments: Any) -> pa.Table:
        noted.append((scan.selected_fields, sorted(task.file.partition[0] for task in scan.plan_files())))
        return original(scan, *arguments)

    monkeypatch.setattr(DataScan, "to_arrow", noting)
    return noted


def dates_read(reads: list[Read], column: str = "close_price") -> list[str]:
    """Give the dates of all files from which a column was read."""
    days = sorted(day for columns, partitions in reads if column in columns for day in partitions)
    return [str(date(1970, 1, 1) + timedelta(days=day)) for day in days]


class TestRange:
    def test_an_empty_table_gives_the_contract_without_rows(self, settings: Settings) -> None:
        found = read_candles(settings, MINUTE)
        assert found.column_names == COLUMNS
        assert len(found) == 0
        assert len(read_candles(settings, MINUTE, newest=5, fill="previous")) == 0

    def test_rows_come_whole_and_sorted(self, settings: Settings) -> None:
        rows = [
            candle(MINUTE, "2026-03-01T10:00", "5", symbol, exchange)
            for symbol, exchange in [("ETH", "X"), ("BTC", "Y"), ("BTC", "X")]
        ]
        late = candle(MINUTE, "2026-03-01T10:05")
        write(settings, MINUTE, late, *rows)
        found = read_candles(settings, MINUTE)
        assert found.to_pylist() == [rows[2], late, rows[1], rows[0]]
        assert found.schema.field("window_start").type == pa.timestamp("us", "UTC")
        assert found.schema.field("window_date").type == pa.date32()
        for name in ("open_price", "volume", "vwap"):
            assert found.schema.field(name).type == pa.decimal128(18, 8)

    def test_the_range_is_half_open(self, settings: Settings) -> None:
        write(settings, MINUTE, *(candle(MINUTE, f"2026-03-01T10:0{minute}") for minute in range(5)))
        found = read_candles(settings, MINUTE, start=at("2026-03-01T10:01"), end=at("2026-03-01T10:03"))
        assert starts(found) == ["2026-03-01T10:01", "2026-03-01T10:02"]

    def test_a_range_within_windows_selects_by_their_start(self, settings: Settings) -> None:
        write(settings, MINUTE, *(candle(MINUTE, f"2026-03-01T10:0{minute}") for minute in range(5)))
        found = read_candles(settings, MINUTE, start=at("2026-03-01T10:01:01"), end=at("2026-03-01T10:03:01"))
        assert starts(found) == ["2026-03-01T10:02", "2026-03-01T10:03"]

    def test_times_of_other_zones_are_meant(self, settings: Settings) -> None:
        write(settings, MINUTE, candle(MINUTE, "2026-02-28T23:59"), candle(MINUTE, "2026-03-01T00:00"))
        east = timezone(timedelta(hours=5))
        found = read_candles(settings, MINUTE, start=datetime(2026, 3, 1, 5, 0, tzinfo=east))
        assert starts(found) == ["2026-03-01T00:00"]
        found = read_candles(settings, MINUTE, end=datetime(2026, 3, 1, 5, 0, tzinfo=east))
        assert starts(found) == ["2026-02-28T23:59"]

    def test_symbol_and_exchange_choose(self, settings: Settings) -> None:
        write(
            settings,
            MINUTE,
            *(candle(MINUTE, "2026-03-01T10:00", "1", symbol, exchange) for symbol in "AB" for exchange in "XY"),
        )
        assert len(read_candles(settings, MINUTE, symbol="A")) == 2
        assert len(read_candles(settings, MINUTE, exchange="Y")) == 2
        assert len(read_candles(settings, MINUTE, symbol="A", exchange="Y")) == 1
        assert len(read_candles(settings, MINUTE, symbol="A' OR '1'='1")) == 0

    def test_requests_that_cannot_be_meant_are_refused(self, settings: Settings) -> None:
        start = at("2026-03-01T10:00")
        with pytest.raises(InputError, match="must be before end"):
            read_candles(settings, MINUTE, start=start, end=start)
        with pytest.raises(InputError, match="1 or more"):
            read_candles(settings, MINUTE, newest=0)
        with pytest.raises(InputError, match="choose previous"):
            read_candles(settings, MINUTE, fill="next")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="zone"):
            read_candles(settings, MINUTE, start=start.replace(tzinfo=None))

    def test_a_missing_table_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(OhlcvError, match="ohlcv tables create"):
            read_candles(load_settings({"OHLCV_HOME": str(tmp_path / "other")}), MINUTE)


class TestExactness:
    extremes = ("9999999999.99999999", "0.00000001", "1234567890.12345678")

    def rows(self) -> list[Row]:
        names = ("open_price", "high_price", "low_price", "close_price", "volume", "vwap")
        return [
            {
                **candle(MINUTE, f"2026-03-01T10:0{2 * position}"),
                **dict.fromkeys(names, Decimal(text)),
                "trade_count": 2**62,
            }
            for position, text in enumerate(self.extremes)
        ]

    def test_decimals_keep_every_digit(self, settings: Settings) -> None:
        write(settings, MINUTE, *self.rows())
        assert read_candles(settings, MINUTE).to_pylist() == self.rows()

    def test_filling_keeps_every_digit(self, settings: Settings) -> None:
        write(settings, MINUTE, *self.rows())
        found = read_candles(settings, MINUTE, fill="previous").to_pylist()
        assert found == [
            kept(self.rows()[0]),
            filled(MINUTE, "2026-03-01T10:01", self.extremes[0]),
            kept(self.rows()[1]),
            filled(MINUTE, "2026-03-01T10:03", self.extremes[1]),
            kept(self.rows()[2]),
        ]

    def test_a_widened_volume_keeps_its_width(self, settings: Settings) -> None:
        narrow = candle(MINUTE, "2026-03-01T10:00")
        write(settings, MINUTE, narrow)
        assert iceberg_tables.widen_volume(settings, candles_contract(MINUTE))
        wide = {**candle(MINUTE, "2026-03-01T10:02"), "volume": Decimal("123456789012345678901234567890.00000001")}
        write(settings, MINUTE, wide)

        found = read_candles(settings, MINUTE)
        assert found.schema.field("volume").type == pa.decimal128(38, 8)
        assert found.schema.field("vwap").type == pa.decimal128(18, 8)
        assert found.to_pylist() == [narrow, wide]

        found = read_candles(settings, MINUTE, fill="previous")
        assert found.schema.field("volume").type == pa.decimal128(38, 8)
        assert found.to_pylist() == [kept(narrow), filled(MINUTE, "2026-03-01T10:01", "1"), kept(wide)]


class TestPruning:
    days = tuple(f"2026-03-{day:02}" for day in range(1, 9))

    def test_a_range_plans_its_days_only(self, settings: Settings, reads: list[Read]) -> None:
        table = iceberg_tables.load_table(iceberg_tables.open_catalog(settings), candles_contract(MINUTE))
        # Without the files' bounds of window_start, what prunes is the partition.
        with table.transaction() as transaction:
            transaction.set_properties({"write.metadata.metrics.column.window_start": "none"})
        write(settings, MINUTE, *(candle(MINUTE, f"{day}T23:30") for day in self.days))
        # Midnight itself is not in the range, so its day is not read.
        read_candles(settings, MINUTE, start=at("2026-03-03T23:00"), end=at("2026-03-06T00:00"))
        assert dates_read(reads) == ["2026-03-03", "2026-03-04", "2026-03-05"]

    def test_files_of_other_symbols_and_exchanges_are_not_planned(self, settings: Settings, reads: list[Read]) -> None:
        write(settings, MINUTE, candle(MINUTE, "2026-03-01T10:00", symbol="A", exchange="X"))
        write(settings, MINUTE, candle(MINUTE, "2026-03-02T10:00", symbol="B", exchange="X"))
        write(settings, MINUTE, candle(MINUTE, "2026-03-03T10:00", symbol="A", exchange="Y"))
        read_candles(settings, MINUTE, symbol="A", exchange="X")
        assert dates_read(reads) == ["2026-03-01"]

    def test_the_newest_window_of_one_series_costs_one_partition(self, settings: Settings, reads: list[Read]) -> None:
        write(settings, MINUTE, *(candle(MINUTE, f"{day}T10:00") for day in self.days))
        found = read_candles(settings, MINUTE, symbol="BTC", exchange="X", newest=1)
        assert starts(found) == ["2026-03-08T10:00"]
        assert dates_read(reads, "symbol") == ["2026-03-08"]

    def test_the_newest_windows_are_walked_back_to(self, settings: Settings, reads: list[Read]) -> None:
        write(settings, MINUTE, *(candle(MINUTE, f"{day}T10:00") for day in self.days))
        found = read_candles(settings, MINUTE, newest=3)
        assert starts(found) == [f"{day}T10:00" for day in self.days[-3:]]
        assert dates_read(reads) == list(self.days[-3:])

    def test_the_walk_begins_at_the_end_asked_for(self, settings: Settings, reads: list[Read]) -> None:
        write(settings, MINUTE, *(candle(MINUTE, f"{day}T10:00") for day in self.days))
        found = read_candles(settings, MINUTE, newest=1, end=at("2026-03-04T10:00"))
        assert starts(found) == ["2026-03-03T10:00"]
        # The fourth may hold a candle before ten o'clock by its date; its file's bounds say that it does not.
        assert dates_read(reads) == ["2026-03-03"]

    def test_a_quiet_series_is_walked_to_on_its_own(self, settings: Settings, reads: list[Read]) -> None:
        write(settings, MINUTE, *(candle(MINUTE, f"{day}T10:00") for day in self.days))
        write(settings, MINUTE, candle(MINUTE, "2026-03-05T10:00", symbol="QUIET"))
        found = read_candles(settings, MINUTE, newest=1)
        assert list(zip(found["symbol"].to_pylist(), starts(found), strict=True)) == [
            ("BTC", "2026-03-08T10:00"),
            ("QUIET", "2026-03-05T10:00"),
        ]
        # Every partition is looked through for series by two columns; whole rows come from the needed ones.
        assert dates_read(reads) == ["2026-03-05", "2026-03-08"]

    def test_the_look_for_series_is_bounded(self, settings: Settings, reads: list[Read]) -> None:
        first = at("2026-01-01T10:00")
        rows = [candle(MINUTE, first + timedelta(days=day)) for day in range(1, LOOKBACK_PARTITIONS + 5)]
        gone = candle(MINUTE, first, symbol="GONE")
        write(settings, MINUTE, gone, *rows)
        assert set(read_candles(settings, MINUTE, newest=1)["symbol"].to_pylist()) == {"BTC"}
        assert len(dates_read(reads, "symbol")) == LOOKBACK_PARTITIONS + 1
        assert recent_series(settings, MINUTE) == [("BTC", "X")]
        # A start is exact: it reads all there is.
        assert read_candles(settings, MINUTE, start=first, newest=1).to_pylist() == [rows[-1], gone]

    def test_the_walk_back_for_too_few_candles_is_bounded(self, settings: Settings, reads: list[Read]) -> None:
        first = at("2026-01-01T10:00")
        days = 2 * LOOKBACK_PARTITIONS
        others = [candle(MINUTE, first + timedelta(days=day), symbol=name) for day in range(days) for name in "AC"]
        write(settings, MINUTE, *others, candle(MINUTE, first + timedelta(days=days - 1), symbol="B"))
        found = read_candles(settings, MINUTE, symbol="B", exchange="X", newest=5)
        assert len(found) == 1
        assert len(dates_read(reads)) == 1 + LOOKBACK_PARTITIONS

    def test_month_partitions(self, settings: Settings, reads: list[Read]) -> None:
        write(
            settings,
            DAYS,
            *(candle(DAYS, day) for day in ("2025-12-31", "2026-01-01", "2026-01-31", "2026-02-01", "2026-02-03")),
        )
        found = read_candles(settings, DAYS, newest=3)
        assert starts(found) == ["2026-01-31T00:00", "2026-02-01T00:00", "2026-02-03T00:00"]
        # February 2026 is the 673rd month after January 1970; each further read takes more partitions at once.
        assert [partitions for columns, partitions in reads if "close_price" in columns] == [[673], [671, 672]]

        found = read_candles(settings, DAYS, start=at("2025-12-31"), end=at("2026-01-31"))
        assert starts(found) == ["2025-12-31T00:00", "2026-01-01T00:00"]

    def test_month_partitions_fill_over_the_turn_of_the_year(self, settings: Settings) -> None:
        write(settings, DAYS, candle(DAYS, "2025-12-30", "3"), candle(DAYS, "2026-01-02", "4"))
        found = read_candles(settings, DAYS, start=at("2026-01-01"), fill="previous").to_pylist()
        assert found == [filled(DAYS, "2026-01-01", "3"), kept(candle(DAYS, "2026-01-02", "4"))]


class TestNewest:
    def test_each_series_has_its_own_newest(self, settings: Settings) -> None:
        write(
            settings,
            MINUTE,
            *(candle(MINUTE, f"2026-03-01T10:0{minute}") for minute in range(4)),
            candle(MINUTE, "2026-02-27T10:00", exchange="Y"),
            candle(MINUTE, "2026-02-28T10:00", exchange="Y"),
        )
        found = read_candles(settings, MINUTE, newest=2)
        assert starts(found) == ["2026-03-01T10:02", "2026-03-01T10:03", "2026-02-27T10:00", "2026-02-28T10:00"]

    def test_newest_within_a_range(self, settings: Settings) -> None:
        write(settings, MINUTE, *(candle(MINUTE, f"2026-03-01T10:0{minute}") for minute in range(6)))
        found = read_candles(settings, MINUTE, start=at("2026-03-01T10:01"), end=at("2026-03-01T10:04"), newest=2)
        assert starts(found) == ["2026-03-01T10:02", "2026-03-01T10:03"]

    def test_filled_windows_count(self, settings: Settings) -> None:
        write(settings, MINUTE, candle(MINUTE, "2026-03-01T10:00", "3"), candle(MINUTE, "2026-03-01T10:05", "4"))
        found = read_candles(settings, MINUTE, newest=3, fill="previous").to_pylist()
        assert found == [
            filled(MINUTE, "2026-03-01T10:03", "3"),
            filled(MINUTE, "2026-03-01T10:04", "3"),
            kept(candle(MINUTE, "2026-03-01T10:05", "4")),
        ]


class TestFill:
    def test_gaps_are_filled_and_nothing_else(self, settings: Settings) -> None:
        one, two = candle(MINUTE, "2026-03-01T10:00", "3"), candle(MINUTE, "2026-03-01T10:02", "4")
        other = candle(MINUTE, "2026-03-01T10:09", "9", symbol="ETH")
        write(settings, MINUTE, two, other, one)
        found = read_candles(settings, MINUTE, fill="previous")
        assert found.column_names == [*COLUMNS, "filled"]
        # Without an end no series is filled past its own last candle.
        assert found.to_pylist() == [kept(one), filled(MINUTE, "2026-03-01T10:01", "3"), kept(two), kept(other)]
        assert read_candles(settings, MINUTE).to_pylist() == [one, two, other]

    def test_fill_goes_over_midnight(self, settings: Settings) -> None:
        write(settings, MINUTE, candle(MINUTE, "2026-02-28T23:58", "3"), candle(MINUTE, "2026-03-01T00:01", "4"))
        found = read_candles(settings, MINUTE, fill="previous").to_pylist()
        assert found[1:3] == [filled(MINUTE, "2026-02-28T23:59", "3"), filled(MINUTE, "2026-03-01T00:00", "3")]
        assert [row["window_date"] for row in found[1:3]] == [date(2026, 2, 28), date(2026, 3, 1)]

    def test_fill_begins_at_start_with_the_close_before(self, settings: Settings) -> None:
        write(
            settings,
            MINUTE,
            candle(MINUTE, "2026-02-20T09:00", "2"),
            candle(MINUTE, "2026-02-20T10:00", "3"),
            candle(MINUTE, "2026-03-01T10:02", "4"),
        )
        # A start within a window: the first window that starts in the range is the next one.
        found = read_candles(settings, MINUTE, start=at("2026-03-01T09:59:30"), fill="previous").to_pylist()
        assert found == [
            filled(MINUTE, "2026-03-01T10:00", "3"),
            filled(MINUTE, "2026-03-01T10:01", "3"),
            kept(candle(MINUTE, "2026-03-01T10:02", "4")),
        ]

    def test_fill_without_a_candle_before_begins_with_the_first(self, settings: Settings) -> None:
        write(settings, MINUTE, candle(MINUTE, "2026-03-01T10:02"), candle(MINUTE, "2026-03-01T10:04"))
        found = read_candles(settings, MINUTE, start=at("2026-03-01T10:00"), fill="previous")
        assert starts(found) == ["2026-03-01T10:02", "2026-03-01T10:03", "2026-03-01T10:04"]

    def test_the_look_for_a_candle_before_is_bounded(self, settings: Settings) -> None:
        first = at("2026-01-01T10:00")
        others = [
            candle(MINUTE, first + timedelta(days=day), symbol=symbol)
            for day in range(LOOKBACK_PARTITIONS + 1)
            for symbol in ("A", "Z")
        ]
        late = first + timedelta(days=LOOKBACK_PARTITIONS + 1)
        write(settings, MINUTE, candle(MINUTE, first), *others, candle(MINUTE, late, "4"))
        found = read_candles(settings, MINUTE, symbol="BTC", start=late - timedelta(minutes=2), fill="previous")
        # The candle of the first day is in the thirty-second partition before.
        assert found.to_pylist() == [kept(candle(MINUTE, late, "4"))]
        write(settings, MINUTE, candle(MINUTE, first + timedelta(days=1), "3"))
        found = read_candles(settings, MINUTE, symbol="BTC", start=late - timedelta(minutes=1), fill="previous")
        assert found["close_price"].to_pylist() == [Decimal(3), Decimal(4)]

    def test_fill_goes_on_to_the_end_asked_for(self, settings: Settings) -> None:
        write(settings, MINUTE, candle(MINUTE, "2026-03-01T10:00", "3"), candle(MINUTE, "2026-03-01T10:09", "4"))
        found = read_candles(settings, MINUTE, end=at("2026-03-01T10:02:30"), fill="previous").to_pylist()
        assert found == [
            kept(candle(MINUTE, "2026-03-01T10:00", "3")),
            filled(MINUTE, "2026-03-01T10:01", "3"),
            filled(MINUTE, "2026-03-01T10:02", "3"),
        ]

    def test_fill_never_passes_the_newest_candle_of_the_table(self, settings: Settings) -> None:
        write(
            settings,
            MINUTE,
            candle(MINUTE, "2026-03-01T10:00", "3"),
            candle(MINUTE, "2026-03-01T10:02", "5", symbol="ETH"),
        )
        found = read_candles(settings, MINUTE, symbol="BTC", end=at("2026-03-05T00:00"), fill="previous")
        assert starts(found) == ["2026-03-01T10:00", "2026-03-01T10:01", "2026-03-01T10:02"]
        start = at("2026-03-01T10:01")
        found = read_candles(settings, MINUTE, start=start, end=at("2026-03-05T00:00"), fill="previous").to_pylist()
        assert found == [
            filled(MINUTE, "2026-03-01T10:01", "3"),
            filled(MINUTE, "2026-03-01T10:02", "3"),
            kept(candle(MINUTE, "2026-03-01T10:02", "5", symbol="ETH")),
        ]

    def test_a_range_after_the_newest_candle_is_empty(self, settings: Settings) -> None:
        write(settings, MINUTE, candle(MINUTE, "2026-03-01T10:00"))
        start = at("2026-03-01T10:01")
        assert len(read_candles(settings, MINUTE, start=start, end=at("2026-03-02T00:00"), fill="previous")) == 0
        assert len(read_candles(settings, MINUTE, start=start, fill="previous")) == 0

    def test_deleted_candles_do_not_set_the_limit(self, settings: Settings) -> None:
        write(settings, MINUTE, candle(MINUTE, "2026-03-01T10:00"), candle(MINUTE, "2026-03-02T10:00"))
        table = iceberg_tables.load_table(iceberg_tables.open_catalog(settings), candles_contract(MINUTE))
        table.delete("window_date = '2026-03-02'")
        found = read_candles(settings, MINUTE, end=at("2026-03-03T00:00"), fill="previous")
        assert starts(found) == ["2026-03-01T10:00"]

    @pytest.mark.parametrize("start", [None, "2026-03-01T02:00", "2026-03-01T07:30"])
    @pytest.mark.parametrize("end", [None, "2026-03-01T20:30", "2026-03-09T00:00"])
    @pytest.mark.parametrize("newest", [None, 1, 6, 100])
    def test_fill_is_what_a_plain_loop_makes(
        self, gappy: Settings, start: str | None, end: str | None, newest: int | None
    ) -> None:
        first, last = (None if text is None else at(text) for text in (start, end))
        found = read_candles(gappy, HOURS, start=first, end=last, newest=newest, fill="previous")
        assert found.to_pylist() == plain_fill(GAPPY, first, last, newest)


# A day and a half of two series with gaps, one of which stops early.
GAPPY = [
    candle(HOURS, at("2026-03-01T03:00") + timedelta(hours=hour), str(hour + 1), symbol)
    for symbol, hours in {"BTC": (0, 1, 5, 6, 14, 30), "ETH": (2, 9)}.items()
    for hour in hours
]


@pytest.fixture(scope="module")
def gappy(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = load_settings({"OHLCV_HOME": str(tmp_path_factory.mktemp("gappy"))})
    iceberg_tables.create_tables(settings)
    write(settings, HOURS, *GAPPY)
    return settings


def plain_fill(rows: list[Row], start: datetime | None, end: datetime | None, newest: int | None) -> list[Row]:
    """Fill hour by hour, the slow and obvious way."""
    answer = []
    newest_of_all = max(row["window_start"] for row in rows)
    for symbol in sorted({row["symbol"] for row in rows}):
        by_start = {row["window_start"]: row for row in rows if row["symbol"] == symbol}
        wanted = [time for time in by_start if (not start or time >= start) and (not end or time < end)]
        last = newest_of_all if end else max(wanted, default=None)
        time, close, windows = min(by_start), None, []
        while last and time <= last and (not end or time < end):
            row = by_start.get(time)
            close = row["close_price"] if row else close
            if not start or time >= start:
                windows.append(kept(row) if row else filled(HOURS, time.isoformat()[:16], str(close), symbol))
            time += HOURS.length
        answer += windows[-newest:] if newest else windows
    return answer


# Runs the command with arguments.
Run = Callable[..., Result]


class TestCommand:
    @pytest.fixture
    def run(self, settings: Settings) -> Run:
        def run(*arguments: str) -> Result:
            # Out of a test, an error keeps its type: the command line as a whole turns it into an exit code.
            return CliRunner().invoke(
                candles, [*arguments], env={"OHLCV_HOME": str(settings.home)}, catch_exceptions=False
            )

        return run

    def test_csv_round_trip(self, settings: Settings, run: Run) -> None:
        rows = [candle(MINUTE, "2026-03-01T10:00", "0.6"), candle(MINUTE, "2026-03-01T10:02", "9999999990.12345678")]
        write(settings, MINUTE, *rows)
        result = run("--timeframe", "1m", "--format", "csv", "--fill", "previous")
        assert result.exit_code == 0
        header, *lines = result.stdout.splitlines()
        assert header == ",".join([*COLUMNS, "filled"])
        assert lines[1] == (
            "BTC,X,2026-03-01T10:01:00Z,2026-03-01T10:02:00Z,2026-03-01,"
            "0.60000000,0.60000000,0.60000000,0.60000000,0.00000000,0,,,,true"
        )
        back = [typed(row) for row in csv.DictReader(io.StringIO(result.stdout))]
        assert back == read_candles(settings, MINUTE, fill="previous").to_pylist()
        assert "all candles" in result.stderr

    def test_json_round_trip(self, settings: Settings, run: Run) -> None:
        rows = [candle(MINUTE, f"2026-03-01T10:0{minute}", "0.50000001") for minute in (0, 2)]
        write(settings, MINUTE, *rows)
        result = run("--timeframe", "1m", "--format", "json", "--fill", "previous")
        answer = json.loads(result.stdout)
        assert list(answer[0]) == [*COLUMNS, "filled"]
        assert answer[0]["low_price"] == "0.00000001"
        assert answer[0]["created_at"] == "2026-03-01T12:00:00.123456Z"
        assert answer[0]["trade_count"] == 3
        assert answer[1]["vwap"] is None
        assert [typed(row) for row in answer] == read_candles(settings, MINUTE, fill="previous").to_pylist()

    def test_table(self, settings: Settings, run: Run) -> None:
        write(
            settings,
            MINUTE,
            candle(MINUTE, "2026-03-01T10:00", "1234567890.5", symbol="[b]BTC"),
            candle(MINUTE, "2026-03-01T10:02", "0.50000001", symbol="[b]BTC"),
        )
        result = run("--timeframe", "1m", "--fill", "previous")
        assert result.exit_code == 0
        lines = [line.rstrip() for line in result.stdout.splitlines() if line.strip(" ─╶╴━")]
        assert lines[0].split() == [
            *("symbol", "exchange", "window", "start", "open", "high", "low", "close", "volume", "trades", "vwap"),
            "filled",
        ]
        assert lines[2].split() == [
            *("[b]BTC", "X", "2026-03-01T10:01:00Z", *["1234567890.50000000"] * 2, "1234567890.50000000"),
            *("1234567890.50000000", "0.0", "0", "-", "yes"),
        ]
        # The points stand in line.
        assert lines[1].index("1234567891.50000000") + 9 == lines[3].index("1.50000001")
        assert "newest 20 windows" in result.stderr

    def test_limits(self, settings: Settings, run: Run) -> None:
        write(
            settings,
            MINUTE,
            *(candle(MINUTE, at("2026-03-01T10:00") + timedelta(minutes=minute)) for minute in range(25)),
        )
        arguments = ("--timeframe", "1m")
        assert run(*arguments).stdout.count("BTC") == 20
        assert run(*arguments, "--start", "2026-03-01T00:00:00Z").stdout.count("BTC") == 25
        assert run(*arguments, "--format", "csv").stdout.count("BTC") == 25
        limited = run(*arguments, "--format", "csv", "--limit", "2")
        assert limited.stdout.count("BTC") == 2
        assert limited.stderr == ""
        ranged = run(*arguments, "--format", "json", "--start", "2026-03-01T10:01Z", "--end", "2026-03-01T10:03Z")
        assert len(json.loads(ranged.stdout)) == 2
        assert ranged.stderr == ""

    def test_a_time_without_a_zone_is_noted(self, settings: Settings, run: Run) -> None:
        write(settings, MINUTE, candle(MINUTE, "2026-03-01T10:00"))
        result = run("--timeframe", "1m", "--start", "2026-03-01T10:00", "--end", "2026-03-01T11:00Z")
        assert result.stderr == "--start 2026-03-01T10:00 names no zone: taken as UTC\n"
        assert "BTC" in result.stdout

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--timeframe", "2m"], "unknown timeframe '2m'"),
            (["--timeframe", "1m", "--start", "2026-03-02T00Z", "--end", "2026-03-01T00Z"], "must be before end"),
            (["--timeframe", "1m", "--start", "yesterday"], "not an ISO time"),
        ],
    )
    def test_wrong_input_is_refused(self, run: Run, arguments: list[str], message: str) -> None:
        with pytest.raises(InputError, match=message):
            run(*arguments)

    def test_no_candles_is_a_success_that_says_so(self, settings: Settings, run: Run) -> None:
        result = run("--timeframe", "1m", "--limit", "5")
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == "no candles: the 1m table is empty\n"
        assert json.loads(run("--timeframe", "1m", "--format", "json").stdout) == []
        assert run("--timeframe", "1m", "--format", "csv").stdout == ",".join(COLUMNS) + "\n"
        write(settings, MINUTE, candle(MINUTE, "2026-03-01T10:00"))
        result = run("--timeframe", "1m", "--start", "2026-04-01T00:00Z")
        assert (result.exit_code, result.stderr) == (0, "no 1m candles in that range\n")

    def test_an_unknown_name_is_answered_with_the_names_there_are(self, settings: Settings, run: Run) -> None:
        write(
            settings,
            MINUTE,
            *(
                candle(MINUTE, "2026-03-01T10:00", "1", symbol, exchange)
                for symbol, exchange in [("ETH", "X"), ("BTC", "X"), ("BTC", "Y")]
            ),
        )
        result = run("--timeframe", "1m", "--symbol", "DOGE", "--limit", "1")
        assert result.exit_code == 0
        assert "symbol 'DOGE'" in result.stderr
        assert "have BTC, ETH; --start" in result.stderr
        result = run("--timeframe", "1m", "--exchange", "Z", "--start", "2026-03-01T00Z")
        assert "exchange 'Z'" in result.stderr
        assert result.stderr.endswith("have X, Y\n")
        result = run("--timeframe", "1m", "--symbol", "ETH", "--exchange", "Y", "--limit", "1")
        assert "have it on X" in result.stderr

    def test_help_loads_nothing_heavy(self) -> None:
        code = (
            "import sys; import ohlcv.cli.candles; "
            "sys.exit(','.join({'pyarrow', 'pyiceberg', 'duckdb', 'rich'} & sys.modules.keys()))"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert result.stderr.strip() == ""


def typed(row: dict[str, Any]) -> Row:
    """Read back what csv or json wrote, by the column's type."""

    def value(name: str, text: Any) -> Any:
        if text in ("", None):
            return None
        if name in ("symbol", "exchange"):
            return text
        if name == "window_date":
            return date.fromisoformat(text)
        if name == "trade_count":
            return int(text)
        if name == "filled":
            return text in (True, "true")
        return Decimal(text) if name.endswith("_price") or name in ("volume", "vwap") else datetime.fromisoformat(text)

    return {name: value(name, text) for name, text in row.items()}
