"""Reader of the YAML file that maps the columns of an existing trades table (OHLCV_TRADES_MAPPING)."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from ohlcv.config.values import read_text_file
from ohlcv.model.errors import InputError
from ohlcv.model.trade_mapping import (
    BUY,
    DEFAULT_MAPPING,
    EXCHANGE,
    EXCHANGE_DATE,
    EXCHANGE_HOUR,
    MAPPED_COLUMNS,
    MESSAGE_ID,
    PRICE,
    QUANTITY,
    SELL,
    SIDE,
    SYMBOL,
    TIMES,
    TIMESTAMP,
    TRADE_ID,
    UNITS_PER_SECOND,
    Filter,
    Source,
    TradeMapping,
)

EVERY_ROW = "every row"
_REQUIRED = (TIMESTAMP, PRICE, QUANTITY, SYMBOL, EXCHANGE)
_CONSTANTS = (SYMBOL, EXCHANGE)
_DEFAULT_WITHOUT_SIDE = TradeMapping({name: source for name, source in DEFAULT_MAPPING.sources.items() if name != SIDE})
_KEYS = (*MAPPED_COLUMNS, "identity", "filters")


def read_mapping(path: Path, name: str) -> TradeMapping:
    """Return the mapping in a file. `name` is that of the setting or option, for messages."""
    text = read_text_file(name, path, "a mapping of trades in YAML")
    try:
        return _mapping(_parse(text))
    except InputError as error:
        raise InputError(f"{name}: {path}: {error}") from None


class _StrictLoader(yaml.SafeLoader):
    """Loader that refuses a key that is given twice, and reads a plain = as text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise InputError(f"the key {_shown(key)} is given twice: remove one of them")
        return super().construct_mapping(node, deep=deep)


_StrictLoader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)


def _parse(text: str) -> object:
    try:
        # PyYAML raises any error for a value that does not fit its tag.
        if any(isinstance(token, yaml.TagToken) for token in yaml.scan(text)):
            raise InputError("a tag such as !!int is not supported: remove it")
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506  # a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" in line {mark.line + 1}" if mark else ""
        raise InputError(f"this is no YAML ({' '.join(str(error.problem).split())}{place}): correct it") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: a date that does not exist.
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise InputError(f"this is no YAML ({reason}): correct it") from None


def _mapping(content: object) -> TradeMapping:
    entries = _entries(content, "the file", _KEYS)
    for key in _REQUIRED:
        if key not in entries:
            raise InputError(f"{key} is missing: name its column")
    sources = {key: _source(key, entries[key]) for key in MAPPED_COLUMNS if key in entries}
    if (EXCHANGE_DATE in sources) != (EXCHANGE_HOUR in sources):
        raise InputError(f"give both {EXCHANGE_DATE} and {EXCHANGE_HOUR}, or neither")
    every_row = "identity" in entries
    if every_row and entries["identity"] != EVERY_ROW:
        raise InputError(f"identity: the only value is '{EVERY_ROW}'; name a column of ids as {TRADE_ID}")
    ids = [key for key in (TRADE_ID, MESSAGE_ID) if key in sources]
    if every_row and ids:
        raise InputError(f"give identity: {EVERY_ROW}, or {ids[0]}, not both")
    if not every_row and not ids:
        raise InputError(f"{TRADE_ID} is missing: name its column, or give identity: {EVERY_ROW}")
    mapping = TradeMapping(sources, every_row, _filters(entries.get("filters", [])))
    # Files from before the side could be mapped leave it out. The table of the contract has it.
    return DEFAULT_MAPPING if mapping == _DEFAULT_WITHOUT_SIDE else mapping


def _source(key: str, entry: object) -> Source:
    if isinstance(entry, str):
        return Source(_column(key, entry))
    form = "give the name of a column"
    if key in TIMES:
        form += " or {column: …, unit: …}"
    elif key in _CONSTANTS:
        form += " or {value: …}"
    elif key == SIDE:
        form += " or {column: …, buy: …, sell: …}"
    if not isinstance(entry, dict):
        raise InputError(f"{key} is {_kind(entry)}: {form}")
    if key in _CONSTANTS and "value" in entry:
        return Source(constant=_constant(key, _entries(entry, key, ("value",))["value"]))
    further = ("unit",) if key in TIMES else ("buy", "sell") if key == SIDE else ()
    fields = _entries(entry, key, ("column", *further))
    if "column" not in fields:
        raise InputError(f"{key} names no column: {form}")
    column = _column(key, fields.pop("column"))
    if key == SIDE:
        return _side_source(column, fields)
    unit = fields.get("unit")
    if "unit" in fields and unit not in tuple(UNITS_PER_SECOND):
        raise InputError(f"{key}: the unit is {_kind(unit)}: use {', '.join(UNITS_PER_SECOND)}")
    return Source(column, unit=unit)


def _side_source(column: str, values: dict[str, Any]) -> Source:
    """Return the source of side; `values` are those of buy and sell, if the file has them."""
    if not values:
        return Source(column)
    if len(values) == 1:
        raise InputError(f"{SIDE}: give the values of both buy and sell, or of neither ({BUY} and {SELL})")
    for key, value in values.items():
        if type(value) not in (str, bool, int):
            raise InputError(f"{SIDE}: {key} is {_kind(value)}: give a text, a whole number, true or false")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise InputError(f"{SIDE}: the number of {key} does not fit 64 bits: correct it")
    if type(values["buy"]) is not type(values["sell"]):
        raise InputError(f"{SIDE}: the values of buy and sell are of different types: put texts in quotes")
    if values["buy"] == values["sell"]:
        raise InputError(f"{SIDE}: buy and sell are both {_shown(values['buy'])}: correct one of them")
    return Source(column, buy=values["buy"], sell=values["sell"])


def _constant(key: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f"{key}: the value is {_kind(value)}: give a text in quotes")
    return _printable(key, value)


def _column(key: str, name: object) -> str:
    if not isinstance(name, str) or not name:
        raise InputError(f"{key}: the column is {_kind(name)}: give a name, in quotes if it is a number")
    return _printable(key, name)


def _printable(key: str, text: str) -> str:
    if not text.isprintable():
        raise InputError(f"{key} contains a line break or another control character: remove it")
    return text


def _filters(entries: object) -> tuple[Filter, ...]:
    if not isinstance(entries, list):
        raise InputError(f"filters is {_kind(entries)}: give a list such as [{{column: kind, '=': trade}}]")
    return tuple(_filter(f"filter {number}", entry) for number, entry in enumerate(entries, start=1))


def _filter(place: str, entry: object) -> Filter:
    fields = _entries(entry, place, ("column", "=", "in", "is"))
    column = _column(place, fields.pop("column", None))
    if len(fields) != 1:
        raise InputError(f"{place} has {len(fields)} conditions: give one of '=', in and is")
    ((operator, value),) = fields.items()
    if operator == "is":
        if value is None:
            return Filter(column, "is null")
        if value == "not null":
            return Filter(column, "is not null")
        raise InputError(f"{place}: is {_kind(value)}: give null or not null")
    if operator == "=":
        return Filter(column, "=", (_filter_value(place, value),))
    if not isinstance(value, list) or not value:
        raise InputError(f"{place}: in is {_kind(value)}: give a list of values")
    values = tuple(_filter_value(place, each) for each in value)
    if len({type(each) for each in values}) > 1:
        raise InputError(f"{place}: the values are of different types: put texts in quotes")
    return Filter(column, "in", values)


def _filter_value(place: str, value: object) -> str | int | date:
    if value is None:
        raise InputError(f"{place}: no value equals null: use 'is: null'")
    # Not isinstance: a datetime is a date, too.
    if type(value) not in (str, bool, int, date):
        raise InputError(f"{place}: the value is {_kind(value)}: give a text, a whole number, true, false or a date")
    assert isinstance(value, str | int | date)
    if isinstance(value, int) and abs(value) >= 2**63:
        raise InputError(f"{place}: the number does not fit 64 bits: correct it")
    return value


def _entries(content: object, place: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(f"{place} is {_kind(content)}: give {', '.join(known)}")
    for key in content:
        if key not in known:
            raise InputError(f"{place}: unknown key {_shown(key)}: use {', '.join(known)}")
    return dict(content)


def _kind(value: object) -> str:
    """Return a short description of a value. A list or mapping is not shown: it may refer to itself."""
    names = {type(None): "empty", dict: "a mapping", list: "a list"}
    return names.get(type(value)) or _shown(value)


def _shown(value: object) -> str:
    if not isinstance(value, str | int | float | date):
        return type(value).__name__
    text = "".join(character if character.isprintable() else " " for character in str(value)[:50])
    return f"'{text}'"
