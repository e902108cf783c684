"""Mapping files: what they may contain, and one line for each invalid one."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from ohlcv.config.mapping_file import read_mapping
from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.trade_mapping import DEFAULT_MAPPING, Filter, Source, TradeMapping

MINIMAL = """timestamp: {column: ts, unit: ms}
price: px
quantity: qty
symbol: {value: BTC-USD}
exchange: venue
trade_id: id
"""


def read(folder: Path, text: str) -> TradeMapping:
    path = folder / "mapping.yaml"
    path.write_text(text)
    return read_mapping(path, "OHLCV_TRADES_MAPPING")


def problem(folder: Path, text: str) -> str:
    """Return the message about an invalid file, without the name of the setting and of the file."""
    with pytest.raises(InputError) as caught:
        read(folder, text)
    message = str(caught.value)
    assert "\n" not in message
    prefix = f"OHLCV_TRADES_MAPPING: {folder}/mapping.yaml: "
    assert message.startswith(prefix)
    return message.removeprefix(prefix)


def test_columns_constants_units_and_filters(tmp_path: Path) -> None:
    text = """
    timestamp: {column: ts, unit: ns}
    price: px
    quantity: {column: "qty"}
    symbol: {value: BTC-USD}
    exchange: {column: venue}
    trade_id: id
    message_id: "1"
    source_sequence: seq
    ingestion_timestamp: received at
    platform_sequence: offset
    exchange_date: dt
    exchange_hour: hr
    side: {column: is_buyer_maker, buy: false, sell: true}
    filters:
      - {column: kind, "=": trade}
      - {column: level, =: 1}
      - {column: valid, "=": true}
      - {column: day, in: [2026-01-31, 2026-02-01]}
      - {column: deleted_at, is: null}
      - {column: side, is: not null}
    """
    assert read(tmp_path, text) == TradeMapping(
        {
            "timestamp": Source("ts", unit="ns"),
            "price": Source("px"),
            "quantity": Source("qty"),
            "symbol": Source(constant="BTC-USD"),
            "exchange": Source("venue"),
            "trade_id": Source("id"),
            "message_id": Source("1"),
            "source_sequence": Source("seq"),
            "ingestion_timestamp": Source("received at"),
            "platform_sequence": Source("offset"),
            "exchange_date": Source("dt"),
            "exchange_hour": Source("hr"),
            "side": Source("is_buyer_maker", buy=False, sell=True),
        },
        filters=(
            Filter("kind", "=", ("trade",)),
            Filter("level", "=", (1,)),
            Filter("valid", "=", (True,)),
            Filter("day", "in", (date(2026, 1, 31), date(2026, 2, 1))),
            Filter("deleted_at", "is null"),
            Filter("side", "is not null"),
        ),
    )


def test_rows_without_ids_are_declared(tmp_path: Path) -> None:
    mapping = read(tmp_path, MINIMAL.replace("trade_id: id", "identity: every row"))
    assert mapping.every_row
    assert "trade_id" not in mapping.sources


def test_the_values_of_a_side_are_optional(tmp_path: Path) -> None:
    for text in ("taker", "{column: taker}", "{column: taker, buy: BUY, sell: SELL}"):
        mapping = read(tmp_path, f"{MINIMAL}side: {text}")
        assert mapping.sources["side"] == Source("taker", buy="BUY", sell="SELL")
    for text, values in (("{column: taker, buy: b, sell: s}", ("b", "s")), ("{column: t, buy: 1, sell: -1}", (1, -1))):
        source = read(tmp_path, f"{MINIMAL}side: {text}").sources["side"]
        assert (source.buy, source.sell) == values


@pytest.mark.parametrize("omitted", ["", "side"])
def test_a_file_with_the_columns_of_the_contract_is_the_default(tmp_path: Path, omitted: str) -> None:
    lines = [
        f"{name}: {{column: {name}, unit: us}}" if source.unit else f"{name}: {name}"
        for name, source in DEFAULT_MAPPING.sources.items()
        if name != omitted
    ]
    assert read(tmp_path, "\n".join(lines)) == DEFAULT_MAPPING


def test_the_setting_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(MINIMAL)
    assert load_settings({}).trades_mapping is DEFAULT_MAPPING
    assert load_settings({"OHLCV_TRADES_MAPPING": str(path)}).trades_mapping == read(tmp_path, MINIMAL)
    for name, reason in (
        ("missing", "cannot be read: No such file or directory"),
        ("", "cannot be read: Is a directory"),
    ):
        with pytest.raises(InputError, match=f"^OHLCV_TRADES_MAPPING {reason}"):
            load_settings({"OHLCV_TRADES_MAPPING": str(tmp_path / name)})


# Text of the file (an addition to MINIMAL if it begins with +) -> message.
INVALID = {
    "": "the file is empty: give symbol, exchange, trade_id, ",
    "- a": "the file is a list: give symbol, ",
    "price: [": "this is no YAML (expected the node content, but found '<stream end>' in line 1): correct it",
    "price: !!python/object:os.system {}": "a tag such as !!int is not supported: remove it",
    "!!bool yess: px": "a tag such as !!int is not supported: remove it",
    "+ filters: |\n  a\n  b": "filters is 'a b': give a list such as ",
    "price: 2026-13-45": "this is no YAML (month must be in 1..12",
    "[" * 5000: "this is no YAML (it is nested too deeply): correct it",
    "+ price: px": "the key 'price' is given twice: remove one of them",
    "+ color: red": "the file: unknown key 'color': use symbol, ",
    "+ 1: red": "the file: unknown key '1': use symbol, ",
    "price: px": "timestamp is missing: name its column",
    MINIMAL.replace("trade_id: id", ""): "trade_id is missing: name its column, or give identity: every row",
    "+ identity: every row": "give identity: every row, or trade_id, not both",
    MINIMAL.replace("trade_id: id", "identity: row"): "identity: the only value is 'every row'; name a column",
    "+ exchange_date: dt": "give both exchange_date and exchange_hour, or neither",
    MINIMAL.replace("px", "7"): "price is '7': give the name of a column",
    MINIMAL.replace("px", ""): "price is empty: give the name of a column",
    MINIMAL.replace("px", "''"): "price: the column is '': give a name, in quotes if it is a number",
    MINIMAL.replace("px", '"a\\nb"'): "price contains a line break or another control character: remove it",
    MINIMAL.replace("px", "{value: 1}"): "price: unknown key 'value': use column",
    MINIMAL.replace("px", "{column: px, unit: ms}"): "price: unknown key 'unit': use column",
    MINIMAL.replace("px", "{column: [a]}"): "price: the column is a list: give a name, in quotes if it is a number",
    MINIMAL.replace("px", "{}"): "price names no column: give the name of a column",
    MINIMAL.replace("unit: ms", "unit: m"): "timestamp: the unit is 'm': use s, ms, us, ns",
    MINIMAL.replace("unit: ms", "unit: "): "timestamp: the unit is empty: use s, ms, us, ns",
    MINIMAL.replace("{column: ts, unit: ms}", "[ts]"): "timestamp is a list: give the name of a column or {column",
    MINIMAL.replace("{value: BTC-USD}", "{value: 7}"): "symbol: the value is '7': give a text in quotes",
    MINIMAL.replace("{value: BTC-USD}", "{value: a, column: b}"): "symbol: unknown key 'column': use value",
    "+ side:": "side is empty: give the name of a column or {column: …, buy: …, sell: …}",
    "+ side: {value: BUY}": "side: unknown key 'value': use column, buy, sell",
    "+ side: {column: a, buy: b}": "side: give the values of both buy and sell, or of neither (BUY and SELL)",
    "+ side: {column: a, buy: b, sell: }": "side: sell is empty: give a text, a whole number, true or false",
    "+ side: {column: a, buy: 0.5, sell: 1}": "side: buy is '0.5': give a text, a whole number, true or false",
    "+ side: {column: a, buy: 2026-01-31, sell: b}": "side: buy is '2026-01-31': give a text, a whole number",
    "+ side: {column: a, buy: 9223372036854775808, sell: 1}": "side: the number of buy does not fit 64 bits: correct",
    "+ side: {column: a, buy: 1, sell: true}": "side: the values of buy and sell are of different types: put",
    "+ side: {column: a, buy: b, sell: b}": "side: buy and sell are both 'b': correct one of them",
    "+ filters: kind": "filters is 'kind': give a list such as ",
    "+ filters:": "filters is empty: give a list such as ",
    "+ filters: [kind]": "filter 1 is 'kind': give column, =, in, is",
    "+ filters: [{column: a, =: 1}, {=: 1}]": "filter 2: the column is empty: give a name",
    "+ filters: [{column: a}]": "filter 1 has 0 conditions: give one of '=', in and is",
    "+ filters: [{column: a, =: 1, is: null}]": "filter 1 has 2 conditions: give one of '=', in and is",
    "+ filters: [{column: a, '>': 1}]": "filter 1: unknown key '>': use column, =, in, is",
    "+ filters: [{column: a, =: null}]": "filter 1: no value equals null: use 'is: null'",
    "+ filters: [{column: a, =: 1.5}]": "filter 1: the value is '1.5': give a text, a whole number, true, false or",
    "+ filters: [{column: a, =: 2026-01-31T00:00:00Z}]": "filter 1: the value is '2026-01-31 00:00:00+00:00': give",
    "+ filters: [{column: a, =: 9223372036854775808}]": "filter 1: the number does not fit 64 bits: correct it",
    "+ filters: [{column: a, in: x}]": "filter 1: in is 'x': give a list of values",
    "+ filters: [{column: a, in: []}]": "filter 1: in is a list: give a list of values",
    "+ filters: [{column: a, in: [1, b]}]": "filter 1: the values are of different types: put texts in quotes",
    "+ filters: [{column: a, in: [yes, b]}]": "filter 1: the values are of different types: put texts in quotes",
    "+ filters: [{column: a, is: 'null'}]": "filter 1: is 'null': give null or not null",
    "+ filters: &a [*a]": "filter 1 is a list: give column, =, in, is",
}


@pytest.mark.parametrize("text", INVALID, ids=[str(number) for number in range(len(INVALID))])
def test_an_invalid_file_is_reported_in_one_line(tmp_path: Path, text: str) -> None:
    found = problem(tmp_path, MINIMAL + text.removeprefix("+ ") if text.startswith("+ ") else text)
    assert found.startswith(INVALID[text])
