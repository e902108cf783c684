"""Row validation: a row of a generic file becomes a stored trade or is refused with a reason."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables
from ohlcv.ingest.loader import load_trades
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import from_microseconds
from support.trade_files import HEADER, NOON, refusals, stored_trades, write_generic, write_lines


def test_missing_columns_of_a_generic_row_are_derived(settings: Settings, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    report = load_trades(settings, [write_generic(tmp_path, f"kraken,BTC-USD,{NOON + 1},95000.12,0.5,17")])
    assert (report.rows_read, report.loaded, report.refused_count) == (1, 1, 0)
    [row] = stored_trades(settings)
    assert before - timedelta(seconds=1) <= from_microseconds(row.pop("ingestion_timestamp")) <= datetime.now(UTC)
    assert len(row.pop("message_id")) == 32
    assert row == {
        "trade_id": "17",
        "symbol": "BTC-USD",
        "exchange": "kraken",
        "asset_class": "crypto",
        "timestamp": NOON + 1,
        "price": Decimal("95000.12000000"),
        "quantity": Decimal("0.50000000"),
        "currency": "USD",
        "side": None,
        "trade_conditions": None,
        "source_sequence": None,
        "platform_sequence": None,
        "vendor_data": None,
        "exchange_date": date(2026, 1, 31),
        "exchange_hour": 12,
    }


def test_optional_columns_are_stored_unchanged(settings: Settings, tmp_path: Path) -> None:
    conditions, vendor = '"[""a"",""b""]"', '"{""fee"": 1.10, ""note"": ""x,y""}"'
    header = (
        f"{HEADER},message_id,side,source_sequence,platform_sequence,ingestion_timestamp,trade_conditions,vendor_data"
    )
    file = write_generic(tmp_path, f"x,BTC/EUR,{NOON},1,1,,m1,buy,5,6,{NOON + 9},{conditions},{vendor}", header=header)
    load_trades(settings, [file])
    [row] = stored_trades(settings)
    assert (row["message_id"], row["trade_id"], row["side"], row["currency"]) == ("m1", None, "BUY", "EUR")
    assert (row["source_sequence"], row["platform_sequence"], row["ingestion_timestamp"]) == (5, 6, NOON + 9)
    assert row["trade_conditions"] == ["a", "b"]
    assert row["vendor_data"] == [("fee", "1.10"), ("note", "x,y")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1.123456789", "price 1.123456789 has more than 8 decimals"),
        ("12345678901", "price 12345678901 has more than 10 digits before the decimal point"),
        ("NaN", "price NaN is not a decimal number"),
        ("", "price is empty"),
        ("1e-5", "price 1e-5 is in scientific notation: write it as a plain decimal number"),
        ("0.0", "price 0.0 is not greater than zero"),
        ("-1", "price -1 is not greater than zero"),
        ("1_000", "price 1_000 is not a decimal number"),
        (".", "price . is not a decimal number"),
        ("Infinity", "price Infinity is not a decimal number"),
        ("0.000000001", "price 0.000000001 has more than 8 decimals"),
    ],
)
def test_an_amount_that_is_invalid_or_not_exact_is_refused(
    settings: Settings, tmp_path: Path, text: str, reason: str
) -> None:
    rows = write_generic(tmp_path, f"x,BTC-USD,{NOON},{text},1,1", f"x,BTC-USD,{NOON},1,{text},2")
    report = load_trades(settings, [rows])
    assert refusals(report) == [(2, reason), (3, reason.replace("price", "quantity"))]
    assert stored_trades(settings) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.00000001", "0.00000001"),
        ("9999999999.99999999", "9999999999.99999999"),
        ("1.10000000000000", "1.1"),
        ("0000000000001.5", "1.5"),
        (".5", "0.5"),
        ("7.", "7"),
    ],
)
def test_an_exact_amount_is_stored_with_all_its_digits(
    settings: Settings, tmp_path: Path, text: str, value: str
) -> None:
    load_trades(settings, [write_generic(tmp_path, f"x,BTC-USD,{NOON},{text},{text},1")])
    [row] = stored_trades(settings)
    assert row["price"] == row["quantity"] == Decimal(value)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f",BTC-USD,{NOON},1,1,1,", "exchange is empty"),
        (f"x,,{NOON},1,1,1,", "symbol is empty"),
        (f"x,BTC-USD,{NOON},1,1,,", "trade_id is empty"),
        (f"x\x1b[31m,BTC-USD,{NOON},1,1,1,", "exchange contains a control or invisible character"),
        (f"x,BTC\u200b-USD,{NOON},1,1,1,", "symbol contains a control or invisible character"),
        ("x,BTC-USD,,1,1,1,", "timestamp is empty"),
        ("x,BTC-USD,noon,1,1,1,", "timestamp noon is not a whole number of microseconds"),
        (f"x,BTC-USD,{NOON}.5,1,1,1,", f"timestamp {NOON}.5 is not a whole number of microseconds"),
        (f"x,BTC-USD,{NOON // 1000},1,1,1,", "it may be milliseconds"),
        (f"x,BTC-USD,{NOON // 10**6},1,1,1,", "it may be seconds"),
        (f"x,BTC-USD,{NOON * 1000},1,1,1,", "it may be nanoseconds"),
        (f"x,BTC-USD,{'9' * 30},1,1,1,", "is outside 2009 to 2100"),
        (f"x,BTC-USD,{NOON},1,1,1,short", "side SHORT is not BUY or SELL"),
        (f"x,BTC-USD,{NOON},1,1,1", "6 fields, expected 7"),
        (f'x,"BTC-USD,{NOON},1,1,1,', "a quoted field is not closed on its line"),
    ],
)
def test_an_invalid_row_is_refused_with_its_line_and_reason(
    settings: Settings, tmp_path: Path, row: str, reason: str
) -> None:
    report = load_trades(settings, [write_generic(tmp_path, row, header=f"{HEADER},side")])
    [(line, found)] = refusals(report)
    assert line == 2
    assert reason in found
    assert report.loaded == 0


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("source_sequence", "1.5", "source_sequence 1.5 is not a whole number"),
        ("ingestion_timestamp", "5", "is outside 2009 to 2100"),
        ("exchange_date", "2026-01-30", "is not the timestamp's UTC date, 2026-01-31"),
        ("exchange_hour", "11", "is not the timestamp's UTC hour, 12"),
        ("trade_conditions", "{}", "trade_conditions is not a JSON list of text"),
        ("trade_conditions", '"[""\\ud800""]"', "trade_conditions contains half of a surrogate pair"),
        ("vendor_data", "[1", "vendor_data is not JSON"),
        ("vendor_data", '"{""a"": ""\\udfff""}"', "vendor_data contains half of a surrogate pair"),
        ("vendor_data", '"{""a"": 1, ""b"": 1, ""a"": 1}"', "vendor_data has the key 'a' twice"),
        ("vendor_data", '"{""\\ud800"": 1, ""\\ud800"": 1}"', "vendor_data has the key '?' twice"),
    ],
)
def test_an_invalid_value_of_an_optional_column_is_refused(
    settings: Settings, tmp_path: Path, column: str, value: str, reason: str
) -> None:
    report = load_trades(
        settings, [write_generic(tmp_path, f"x,BTC-USD,{NOON},1,1,1,{value}", header=f"{HEADER},{column}")]
    )
    assert reason in report.refused[0].reason


def test_line_numbers_include_blank_lines(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "trades.csv"
    lines = [HEADER, "", f"x,BTC-USD,{NOON},1,1,1", "", f'"x",BTC-USD,{NOON},bad,1,2', f"x,BTC-USD,{NOON},worse,1,3"]
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    report = load_trades(settings, [file])
    assert refusals(report) == [(5, "price bad is not a decimal number"), (6, "price worse is not a decimal number")]
    assert report.rows_read == 3


def test_options_fill_missing_columns_and_refuse_conflicting_rows(settings: Settings, tmp_path: Path) -> None:
    bare = write_lines(tmp_path / "bare.csv", "timestamp,price,quantity,trade_id", f"{NOON},1,1,1")
    load_trades(settings, [bare], exchange="x", symbol="ETH-USD")
    assert [(row["exchange"], row["symbol"]) for row in stored_trades(settings)] == [("x", "ETH-USD")]
    report = load_trades(settings, [write_generic(tmp_path, f"x,BTC-USD,{NOON},1,1,1")], symbol="ETH-USD")
    assert refusals(report) == [(2, "symbol BTC-USD differs from --symbol ETH-USD")]


def test_white_space_around_values_is_removed_in_all_sources(settings: Settings, tmp_path: Path) -> None:
    values = {"exchange": "\u2003x\u00a0", "symbol": " BTC-USD\u3000", "trade_id": "\t7 ", "side": " buy "}
    values |= {"timestamp": str(NOON), "price": "1", "quantity": "1"}
    plain = write_lines(tmp_path / "plain.csv", ",".join(values), ",".join(values.values()))
    quoted = write_lines(tmp_path / "quoted.csv", ",".join(values), ",".join(f'"{each}"' for each in values.values()))
    table = pa.table({name: [int(each) if name == "timestamp" else each] for name, each in values.items()})
    for name, kind in [("a", pa.string()), ("b", pa.large_string()), ("c", pa.string_view())]:
        table = table.set_column(0, "exchange", table["exchange"].cast(kind))
        pq.write_table(table, tmp_path / f"{name}.parquet")
    bare = write_lines(tmp_path / "bare.csv", "timestamp,price,quantity,trade_id,side", f"{NOON},1,1,7,BUY")
    parquet = sorted(tmp_path.glob("*.parquet"))
    report = load_trades(settings, [plain, quoted, *parquet, bare], exchange=" x ", symbol="\u00a0BTC-USD\n")
    assert (report.refused, report.loaded, report.already_there) == ([], 1, 5)
    [row] = stored_trades(settings)
    assert (row["exchange"], row["symbol"], row["trade_id"], row["side"]) == ("x", "BTC-USD", "7", "BUY")


def test_a_blank_or_invisible_name_in_parquet_is_refused(settings: Settings, tmp_path: Path) -> None:
    names = {" \u00a0": "is empty", "": "is empty", "B\u202eTC": "contains a control or invisible character"}
    for column, other in [("symbol", "exchange"), ("exchange", "symbol")]:
        rows = {column: list(names), other: ["x"] * 3, "trade_id": ["1"] * 3, "timestamp": [NOON] * 3}
        rows |= {"price": ["1"] * 3, "quantity": ["1"] * 3}
        pq.write_table(pa.table(rows), tmp_path / "t.parquet")
        report = load_trades(settings, [tmp_path / "t.parquet"])
        assert [row.reason for row in report.refused] == [f"{column} {reason}" for reason in names.values()]


@pytest.mark.parametrize("option", ["exchange", "symbol"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (" \t\u00a0", "is blank: give a name"),
        ("", "is blank: give a name"),
        ("BTC\x1b[31m", "contains a control or invisible character: give the name without it"),
        ("\udcff", "contains a control or invisible character: give the name without it"),
    ],
)
def test_a_blank_or_invisible_name_in_an_option_is_an_input_error(option: str, value: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^--{option} {message}$"):
        load_trades(load_settings({}), [], **{option: value})  # type: ignore[arg-type]


AMOUNTS = st.integers(1, 10**18 - 1).map(lambda units: Decimal(units).scaleb(-8))
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")), min_size=1, max_size=8
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "exchange": TEXTS,
            "symbol": TEXTS,
            "timestamp": st.integers(NOON, NOON + 3 * 10**9),
            "price": AMOUNTS,
            "quantity": AMOUNTS,
            "trade_id": TEXTS,
            "side": st.sampled_from(["BUY", "SELL", None]),
            "source_sequence": st.none() | st.integers(-(2**63), 2**63 - 1),
            "vendor_data": st.none() | st.dictionaries(TEXTS, TEXTS, max_size=2),
        }
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda row: tuple(row[name] for name in ("exchange", "symbol", "trade_id")),
)


@hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_a_generic_csv_round_trip_keeps_every_value(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("round_trip")
    settings = load_settings({"OHLCV_HOME": str(folder / "home")})
    create_tables(settings)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    for row in rows:
        vendor = None if row["vendor_data"] is None else json.dumps(row["vendor_data"])
        writer.writerow(row | {"vendor_data": vendor, "price": f"{row['price']:f}", "quantity": f"{row['quantity']:f}"})
    (folder / "t.csv").write_text(text.getvalue(), newline="")
    report = load_trades(settings, [folder / "t.csv"])
    assert report.refused == []

    def key(row: dict[str, Any]) -> tuple[str, ...]:
        return row["exchange"], row["symbol"], row["trade_id"]

    found = [{name: row[name] for name in rows[0]} for row in stored_trades(settings)]
    for row in found:
        row["vendor_data"] = None if row["vendor_data"] is None else dict(row["vendor_data"])
    assert sorted(found, key=key) == sorted(rows, key=key)
