"""Trade files for tests of the loader, and the rows that the trades table stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.ingest.loader import LoadReport
from support.default_tables import TRADES

NOON = 1_769_860_800_000_000  # 2026-01-31T12:00:00Z
HOUR = 3_600_000_000
HEADER = "exchange,symbol,timestamp,price,quantity,trade_id"


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def write_generic(folder: Path, *rows: str, header: str = HEADER) -> Path:
    return write_lines(folder / "trades.csv", header, *rows)


def trades_table(settings: Settings) -> Table:
    return load_table(open_catalog(settings), TRADES)


def stored_trades(settings: Settings) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = trades_table(settings).scan().to_arrow().to_pylist()
    return sorted(rows, key=lambda row: (row["timestamp"], row["message_id"]))


def refusals(report: LoadReport) -> list[tuple[int, str]]:
    """Return the line and reason of every refused row."""
    return [(row.line, row.reason) for row in report.refused]
