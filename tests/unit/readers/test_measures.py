"""Measures of extended tables: the candle reader, the Python API and the `candles` command."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

import ohlcv
from ohlcv.cli.candles import candles
from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model.errors import InputError
from ohlcv.model.table_contracts import MEASURES
from ohlcv.readers.candles import read_candles
from support.candle_rows import (
    COLUMNS,
    HOUR,
    Row,
    Scan,
    candle,
    extend_table,
    filled_candle,
    measured,
    unfilled,
    unmeasured,
    write_candles,
)
from support.default_tables import candles_contract

REFUSED = "^gold_ohlcv_1h has no measures: run 'ohlcv tables extend --timeframe 1h'$"


@pytest.fixture
def rows(settings: Settings) -> list[Row]:
    """Write a candle, extend the table, and write candles with measures, one of them without sides."""
    old = candle(HOUR, "2026-03-01T10:00", "3")
    write_candles(settings, HOUR, old)
    extend_table(settings, HOUR)
    new = [
        measured(candle(HOUR, "2026-03-01T12:00", "4")),
        measured(candle(HOUR, "2026-03-01T13:00", "5"), sides=False),
    ]
    write_candles(settings, HOUR, *new)
    return [unmeasured(old), *new]


def stripped(rows: list[Row]) -> list[Row]:
    return [{name: row[name] for name in COLUMNS} for row in rows]


def test_measures_are_read_only_if_they_are_wanted(settings: Settings, rows: list[Row], scans: list[Scan]) -> None:
    found = read_candles(settings, HOUR)
    assert found.to_pylist() == stripped(rows)
    assert read_candles(settings, HOUR, newest=2).column_names == COLUMNS
    assert not any(set(MEASURES) & set(columns) for columns, _ in scans)


def test_measures_follow_the_columns_of_the_contract(settings: Settings, rows: list[Row]) -> None:
    found = read_candles(settings, HOUR, measures=True)
    assert found.column_names == [*COLUMNS, *MEASURES]
    assert found.to_pylist() == rows
    time = pa.timestamp("us", "UTC")
    kinds = [pa.decimal128(38, 16), pa.decimal128(38, 8), pa.decimal128(38, 16), time, time]
    assert [found.schema.field(name).type for name in MEASURES] == kinds
    newest = read_candles(settings, HOUR, "BTC", "X", newest=2, measures=True)
    assert (newest.schema, newest.to_pylist()) == (found.schema, rows[1:])
    # A table that was extended, but not written since.
    empty = read_candles(settings, HOUR, "ETH", measures=True)
    assert (empty.schema, len(empty)) == (found.schema, 0)


def test_filled_windows_have_no_measures(settings: Settings, rows: list[Row]) -> None:
    found = read_candles(settings, HOUR, fill="previous", measures=True)
    assert found.column_names == [*COLUMNS, *MEASURES, "filled", "fill_reason"]
    assert found.to_pylist() == [
        unfilled(rows[0]),
        unmeasured(filled_candle(HOUR, "2026-03-01T11:00", "3")),
        *map(unfilled, rows[1:]),
    ]
    # The window before the gap has measures, which must not be repeated.
    later = read_candles(settings, HOUR, start=rows[1]["window_start"], fill="previous", measures=True)
    write_candles(settings, HOUR, candle(HOUR, "2026-03-01T15:00"))
    assert read_candles(settings, HOUR, fill="previous", measures=True).to_pylist()[4] == unmeasured(
        filled_candle(HOUR, "2026-03-01T14:00", "5")
    )
    assert later.to_pylist() == [unfilled(row) for row in rows[1:]]


def test_a_table_that_is_not_extended_is_refused(settings: Settings) -> None:
    write_candles(settings, HOUR, candle(HOUR, "2026-03-01T10:00"))
    before = load_table(open_catalog(settings), candles_contract(HOUR)).metadata_location
    with pytest.raises(InputError, match=REFUSED):
        read_candles(settings, HOUR, measures=True)
    with pytest.raises(InputError, match=REFUSED):
        ohlcv.candles("1h", measures=True, settings=settings)
    with pytest.raises(InputError, match=REFUSED):
        run(settings, "--measures")
    assert load_table(open_catalog(settings), candles_contract(HOUR)).metadata_location == before


def test_the_python_api_returns_measures(settings: Settings, rows: list[Row]) -> None:
    assert ohlcv.candles("1h", "BTC", "X", measures=True, settings=settings).to_pylist() == rows
    assert ohlcv.candles("1h", settings=settings).to_pylist() == stripped(rows)


@pytest.mark.parametrize("past", [{"as_of": "2026-03-02"}, {"as_of_snapshot": 7}, {"vintage": "first"}], ids=str)
def test_the_python_api_refuses_measures_of_the_past(settings: Settings, past: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="as_of_snapshot and vintage cannot be combined with measures: remove"):
        ohlcv.candles("1h", measures=True, settings=settings, **past)


def run(settings: Settings, *arguments: str) -> Result:
    environment = {"OHLCV_HOME": str(settings.home)}
    return CliRunner().invoke(candles, ["--timeframe", "1h", *arguments], env=environment, catch_exceptions=False)


def test_csv_and_json_have_every_digit(settings: Settings, rows: list[Row]) -> None:
    found = list(csv.DictReader(io.StringIO(run(settings, "--measures", "--format", "csv").stdout)))
    assert list(found[0]) == [*COLUMNS, *MEASURES]
    expected = [
        dict.fromkeys(MEASURES, ""),
        {
            "quote_volume": "30.0000000000000001",
            "taker_buy_volume": "4.50000000",
            "taker_buy_quote_volume": "18.0000000000000000",
            "first_trade_at": "2026-03-01T12:00:00.000007Z",
            "last_trade_at": "2026-03-01T12:59:59.999999Z",
        },
    ]
    assert [{name: row[name] for name in MEASURES} for row in found[:2]] == expected
    assert (found[2]["quote_volume"], found[2]["taker_buy_volume"]) == ("37.5000000000000001", "")
    output = json.loads(run(settings, "--measures", "--format", "json").stdout)
    assert {name: output[1][name] for name in MEASURES} == expected[1]
    assert [row["taker_buy_quote_volume"] for row in output] == [None, "18.0000000000000000", None]
    assert list(json.loads(run(settings, "--format", "json").stdout)[0]) == COLUMNS


def test_the_table_shows_measures_after_the_vwap(settings: Settings, rows: list[Row]) -> None:
    header, _, *lines = [line for line in run(settings, "--measures").stdout.splitlines() if line.strip()]
    headings = " ".join(header.split("vwap")[1].split())
    assert headings == "quote volume taker buy taker buy quote first trade last trade"
    assert lines[0].split()[-5:] == ["-"] * 5
    times = ["2026-03-01T12:00:00.000007Z", "2026-03-01T12:59:59.999999Z"]
    assert lines[1].split()[-5:] == ["30.0000000000000001", "4.5", "18", *times]
    assert lines[2].split()[-4:-2] == ["-", "-"]
