"""A trades table with a history of deliveries, its coverage, and what the coverage must contain."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.coverage.recording import record_coverage
from ohlcv.coverage.report import CoverageReport
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model.intervals import to_microseconds
from ohlcv.model.source_hours import hour_number
from support.candle_rows import Row, at
from support.coverage_recount import Cell, recount
from support.reference_model import TRADE_COLUMNS, Trade, partition_hour

# The hour in which the tests begin, and a time in the next one.
START = at("2026-03-01T12:00")
NOW = START + timedelta(minutes=90)
HOUR = hour_number(START)


def delivery(seconds: float = 0, trade_id: str | None = "1", hour: int = HOUR, **values: Any) -> Trade:
    """Return a valid delivery of a trade some seconds after the start of an hour, which arrived with it."""
    time = hour * 3_600_000_000 + round(seconds * 1_000_000)
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=hour)
    row: Row = {
        "message_id": None,
        "trade_id": trade_id,
        "symbol": "BTC",
        "exchange": "X",
        "timestamp": time,
        "price": 1,
        "quantity": 2,
        "source_sequence": None,
        "ingestion_timestamp": time,
        "platform_sequence": None,
        "exchange_date": start.date(),
        "exchange_hour": start.hour,
    }
    return Trade(**row | values)


def contract_rows(trades: Iterable[Trade]) -> list[Row]:
    """Return the rows of the contract's trades table."""
    return [dict(zip(TRADE_COLUMNS, astuple(trade), strict=False)) for trade in trades]


class CoverageSite:
    """A trades table and its coverage."""

    def __init__(
        self,
        settings: Settings,
        rows_of: Callable[[Iterable[Trade]], list[Row]] = contract_rows,
        *,
        every_row: bool = False,
    ) -> None:
        self.settings = settings
        self.catalog = open_catalog(settings)
        self.now = NOW
        self._rows_of = rows_of
        self._every_row = every_row
        # The deliveries in the trades table, and the facts of the hours when they were recorded.
        self.trades: list[Trade] = []
        self.recorded: dict[Cell, Row] = {}

    def trades_table(self) -> Table:
        return load_table(self.catalog, self.settings.trades_contract)

    def coverage_table(self) -> Table:
        return load_table(self.catalog, self.settings.coverage_contract)

    def deliver(self, *trades: Trade) -> int:
        """Append deliveries in one commit, and return the snapshot."""
        table = self.trades_table()
        table.append(pa.Table.from_pylist(self._rows_of(trades), schema=table.schema().as_arrow()))
        self.trades += _with_hour(trades)
        return self.snapshot()

    def replace(self, *trades: Trade) -> int:
        """Replace all deliveries of the table."""
        table = self.trades_table()
        table.overwrite(pa.Table.from_pylist(self._rows_of(trades), schema=table.schema().as_arrow()))
        self.trades = _with_hour(trades)
        return self.snapshot()

    def delete(self, hour: int = HOUR) -> None:
        """Delete all deliveries of an hour, as the retention of the source does."""
        kept = [trade for trade in self.trades if partition_hour(trade) != hour]
        (gone, *_) = [trade for trade in self.trades if partition_hour(trade) == hour]
        condition = f"exchange_date = '{gone.exchange_date}' AND exchange_hour = {gone.exchange_hour}"
        self.trades_table().delete(condition)
        self.trades = kept

    def snapshot(self) -> int:
        """Return the newest trades snapshot."""
        found = self.trades_table().current_snapshot()
        assert found is not None
        return found.snapshot_id

    def record(self, **options: Any) -> CoverageReport:
        return record_coverage(self.settings, self.now, self.catalog, **options)

    def assert_recorded(self) -> None:
        """Assert that the coverage has the facts of all deliveries; hours without any keep those of before."""
        counted = recount(self.trades, every_row=self._every_row)
        hours = {hour for _, _, hour in counted}
        expired = {
            cell: facts | {"source_expired": True} for cell, facts in self.recorded.items() if cell[2] not in hours
        }
        self.recorded = counted | expired
        assert self.facts() == self.recorded

    def rows(self) -> list[Row]:
        """Return the rows of the coverage by key."""
        rows = self.coverage_table().scan().to_arrow().to_pylist()
        return sorted(rows, key=lambda row: (row["exchange"], row["symbol"], row["hour"]))

    def facts(self) -> dict[Cell, Row]:
        """Return the rows of the coverage like a recount."""
        found = {}
        for row in self.rows():
            cell = row["exchange"], row["symbol"], hour_number(row["hour"])
            assert cell not in found, f"{cell} is stored twice"
            found[cell] = {name: _plain(value) for name, value in row.items() if name not in _KEY}
        return found

    def row(self) -> Row:
        """Return the only row of the coverage."""
        (row,) = self.rows()
        return row

    def properties(self) -> dict[str, str]:
        """Return what a recording stores in the properties of the table."""
        found = self.coverage_table().properties
        return {name.removeprefix("ohlcv.coverage-"): value for name, value in found.items() if "coverage-" in name}

    def files(self) -> set[str]:
        """Return all files of the coverage table."""
        folder = Path(urlsplit(self.coverage_table().location()).path)
        return {str(path) for path in folder.rglob("*") if path.is_file()}


def _with_hour(trades: Iterable[Trade]) -> list[Trade]:
    """Return the deliveries whose partition is an hour: the others belong to none."""
    return [trade for trade in trades if trade.exchange_date is not None and trade.exchange_hour in range(24)]


_KEY = ("exchange", "symbol", "hour", "trades_snapshot")


def _plain(value: Any) -> Any:
    return to_microseconds(value) if isinstance(value, datetime) else value
