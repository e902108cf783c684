"""The notebook docs/how-to/candles.ipynb, executed against candles of sample trades."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables
from ohlcv.ingest.sample_data import sample_trades
from ohlcv.model.timeframes import Timeframe
from support.candle_rows import CREATED_AT, HOUR, MINUTE, Row, table_row, write_candles
from support.documents import DOCUMENTS, notebook_cells, run_code
from support.reference_model import TRADE_COLUMNS, Trade, reference_candles

NOTEBOOK = "how-to/candles.ipynb"
END = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOURS = 3


def candles(trades: list[Trade], timeframe: Timeframe) -> Iterator[Row]:
    end = int(END.timestamp()) * 1_000_000
    built = reference_candles(trades, timeframe.microseconds, [(end - HOURS * HOUR.microseconds, end)])
    for candle in built.candles.values():
        row = table_row(candle)
        yield {
            **row,
            "window_date": row["window_start"].date(),
            "created_at": CREATED_AT,
            "updated_at": CREATED_AT,
        }


def test_the_notebook_contains_no_outputs() -> None:
    cells = json.loads((DOCUMENTS / NOTEBOOK).read_text())["cells"]
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)


def test_the_notebook_runs_and_finds_no_difference(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings({"OHLCV_HOME": str(tmp_path)})
    create_tables(settings)
    # Few trades, so that minutes are missing.
    rows = sample_trades(trades=1_000, hours=HOURS, end=END, duplicates=50, bad_rows=20).to_pylist()
    trades = [Trade(**{name: row[name] for name in TRADE_COLUMNS if name in row}) for row in rows]
    write_candles(settings, HOUR, *candles(trades, HOUR))
    write_candles(settings, MINUTE, *candles(trades, MINUTE))
    monkeypatch.setenv("OHLCV_HOME", str(tmp_path))

    variables: dict[str, Any] = {}
    for name, code in notebook_cells(NOTEBOOK).items():
        run_code(code, f"cell {name}", variables)
    assert len(variables["all_series"]) == 8
    assert len(variables["hours"]) == HOURS
    assert len(variables["minutes"]) < len(variables["every_minute"]) <= HOURS * 60
    assert variables["differences"].num_rows == 0
    assert variables["largest_difference"] <= Decimal("1e-8")
    assert variables["api_agrees"] is None
