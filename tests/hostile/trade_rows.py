"""Rows of trade files: valid ones, rows that must be refused, and values whose fate the cases do not predict."""

from __future__ import annotations

import random

from support.trade_files import HOUR, NOON

Row = dict[str, str]

REQUIRED = ("exchange", "symbol", "trade_id", "timestamp", "price", "quantity")
OPTIONAL = (
    "side",
    "message_id",
    "currency",
    "asset_class",
    "source_sequence",
    "platform_sequence",
    "ingestion_timestamp",
    "trade_conditions",
    "vendor_data",
    "exchange_date",
    "exchange_hour",
)
# The cases load trades of the day after the prepared ones.
FIRST_TIME = NOON + 24 * HOUR
HOURS = 3
# The times of Kraken dumps are between these seconds.
FIRST_SECOND = FIRST_TIME // 10**6
LAST_SECOND = FIRST_SECOND + 3600

# fmt: off
_BAD_AMOUNTS = (
    "", "0", "-1", "0.0", "NaN", "inf", "1e5", "1E-3", "0x10", "1_000", "--1", "1.2.3", "+-1", "abc", ".", "-",
    "0.000000001", "12345678901", "9" * 40, "99999999999.99999999", "\u0663", "\uff11", "1\u00a0000", "1 000",
    "NULL",
)
_BAD_COUNTERS = ("x", "1.5", "1e3", "9223372036854775808", "\u0663", "1_0", "NaN", "--1")
_BAD_JSON_LISTS = ('"x"', "{}", "x", "[", "[[]]", "[null]", '["a"', "NaN", "[" * 5000)
_BAD_JSON_OBJECTS = (
    '"x"', "[]", "{", '{"a": {}}', '{"a": ["b"]}', "NaN", '{"a": "1", "a": "2"}', '{"a":' * 5000,
)
# Column -> values that the loader refuses in any row.
REFUSED = {
    "timestamp": (
        "", "abc", "1e15", "0", "-1", "1769860800", "1769860800000", "9" * 30, "1769860800000000.5", "2026-01-31",
        "\u0661\u0667", "4102444800000000", "1230767999999999", "-9223372036854775808", "18446744073709551616",
        "0x1",
    ),
    "price": _BAD_AMOUNTS,
    "quantity": _BAD_AMOUNTS,
    "side": ("HOLD", "B", "0", "BUY;SELL", "\u0395"),
    "exchange": ("", "   ", "\t"),
    "symbol": ("", "   ", "\t "),
    "source_sequence": _BAD_COUNTERS,
    "platform_sequence": _BAD_COUNTERS,
    "ingestion_timestamp": (*_BAD_COUNTERS, "1", "-1", "4102444800000000"),
    "trade_conditions": _BAD_JSON_LISTS,
    "vendor_data": _BAD_JSON_OBJECTS,
    "exchange_date": ("2026-13-01", "1999-01-01", "x", "-"),
    "exchange_hour": ("24", "-1", "x", "1.0"),
}
# Values that a row may or may not have, for any text column.
ODD_TEXTS = (
    "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "a\x00b", "a\x08b", "\u202eUSD-CTB", "\u200b", "\ufeff", "\x85",
    "\u2028x", "=1+1", "@SUM(A1)", "'; DROP TABLE trades; --", "%s%n", "{}", "[red]x[/red]", "$symbol", "\\", '"',
    "'", ",", "/", "..", "\U0001f4b0", "e\u0301" * 20, "x" * 500, "x" * 70_000, "NULL", "None", "nan", " BTC-USD ",
    "\u00a0BTC\u00a0", "-", "BTC-", "BTC/USD-EUR", "\udcff",
)
ODD_NUMBERS = (
    "00000000001.5", "+1", "1.", ".5", "1.00000000000000", "0" * 300 + "1", "9999999999.99999999", "0.00000001",
    "10000000000", "1e-8", "1" + "0" * 5000, "007", " 1 ", "1\t",
)
ODD_TIMES = ("1230768000000000", "4102444799999999", "01769860800000000", "+1769860800000000", " 1769860800000000")
ODD_JSON = (
    '{"a": 1}', "[1.50]", "[NaN]", '{"a": "\\ud800"}', '["\\udfff"]', '{"\\ud83d": "x"}', '{"": ""}', '{"a": null}',
    "{}", "[]", "null", "true", "[" * 900 + "]" * 900, '{"a": "' + "x" * 70_000 + '"}', '["\\u0000"]',
    '{"\\u0000": "\\u001b[31m"}', '{"a": "b"} ', " [] ", '{"a": "b",}',
)
# fmt: on


def valid_row(rng: random.Random, number: int) -> Row:
    """Return a row with all columns that the loader accepts; rows of different numbers are different trades."""
    timestamp = FIRST_TIME + rng.randrange(HOURS * HOUR)
    hour = timestamp // HOUR % 24
    return {
        "exchange": rng.choice(("acme", "binance")),
        "symbol": rng.choice(("BTC-USD", "ETH-USD", "\u20bf-\u20ac", "A" * 60)),
        "trade_id": f"t{number}",
        "timestamp": str(timestamp),
        "price": rng.choice(("84100.5", "0.00000001", "9999999999.99999999", "1", "00.10", "5.", ".5")),
        "quantity": rng.choice(("0.25", "1", "3.10000000", "0.00000001", "0000000000012.5")),
        "side": rng.choice(("BUY", "SELL", "buy", "Sell", "")),
        "message_id": f"m{number}",
        "currency": rng.choice(("USD", "")),
        "asset_class": rng.choice(("crypto", "")),
        "source_sequence": rng.choice((str(number), "", "-5")),
        "platform_sequence": rng.choice((str(number), "")),
        "ingestion_timestamp": rng.choice((str(timestamp + 5), "")),
        "trade_conditions": rng.choice(('["regular"]', "[]", "")),
        "vendor_data": rng.choice(('{"source": "x"}', '{"a": "1", "b": null}', "{}", "")),
        "exchange_date": rng.choice(("2026-02-01", "")),
        "exchange_hour": rng.choice((str(hour), "")),
    }


def refused_row(rng: random.Random, number: int, columns: list[str]) -> Row:
    """Return a row that the loader refuses because of one value."""
    row = valid_row(rng, number)
    column = rng.choice([name for name in columns if name in REFUSED])
    row[column] = rng.choice(REFUSED[column])
    return row


def odd_row(rng: random.Random, number: int) -> Row:
    """Return a row with up to three values that the loader may accept or refuse."""
    row = valid_row(rng, number)
    for column in rng.sample(list(row), rng.randint(1, 3)):
        if column in ("price", "quantity"):
            row[column] = rng.choice(ODD_NUMBERS)
        elif column == "timestamp":
            row[column] = rng.choice(ODD_TIMES)
        elif column in ("trade_conditions", "vendor_data"):
            row[column] = rng.choice(ODD_JSON)
        else:
            row[column] = rng.choice(ODD_TEXTS + ODD_NUMBERS)
    return row


def choose_columns(rng: random.Random) -> list[str]:
    """Return the required and some optional columns in any order."""
    columns = [*REQUIRED, *rng.sample(OPTIONAL, rng.randint(0, len(OPTIONAL)))]
    rng.shuffle(columns)
    return columns


def kraken_lines(rng: random.Random, count: int) -> list[str]:
    """Return lines of a Kraken dump in time order, many of them equal."""
    seconds = sorted(FIRST_SECOND + rng.randrange(max(count // 3, 1)) for _ in range(count))
    fraction = rng.choice(("", ".5", ".1234"))
    return [f"{second}{fraction},{rng.choice(('100.1', '100.2'))},{rng.choice(('1', '0.5'))}" for second in seconds]


def binance_line(rng: random.Random, number: int) -> str:
    """Return a valid line of a Binance dump."""
    timestamp = FIRST_TIME + rng.randrange(HOURS * HOUR)
    time = timestamp if rng.random() < 0.5 else timestamp // 1000
    return f"{number},84100.5,0.25,21025.125,{time},{rng.choice(('True', 'False', 'true'))},True"
