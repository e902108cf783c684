"""The rules a candle table must keep, each a small function that gives the SQL of its offenders.

They run in DuckDB over these tables, amounts as whole numbers of 10^-8 and times in microseconds:

* `stored`: the candles of the ranges as they stand, one row for each stored row;
* `expected`: the same recomputed from the trades;
* `pairs`: each key once, stored beside expected, without those whose source has let go of the trades;
* `smaller`: the stored candles of a smaller timeframe, `smaller_name` says which;
* `trades`: the trades read, `hour_number` the hour of their partition, `good` those that reach a candle.

Freshness is asked for apart, by the variables `due` (the end of the newest candle there should be), `newest` (the end
of the newest there is) and `traded` (the newest trade between the two).

A rule gives the columns symbol, exchange, window_start, stored, expected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["FAIL", "WARN"]

# More than one bad trade in a hundred is a broken feed rather than noise.
REJECTED_SHARE = 0.01
VALUES = ("open_price", "high_price", "low_price", "close_price", "volume", "trade_count", "vwap")


# The timeframe's length, and what no volume reaches that fits its column.
LENGTH = "getvariable('length')"
FITS = "(expected_volume < getvariable('volume_limit'))"

Offenders = Callable[[], str]


@dataclass(frozen=True)
class Rule:
    """What must hold, and how those who break it are found."""

    name: str
    severity: Severity
    invariant: str
    offenders: Offenders


RULES: dict[str, Rule] = {}


def _rule(severity: Severity, invariant: str) -> Callable[[Offenders], Offenders]:
    def register(offenders: Offenders) -> Offenders:
        RULES[offenders.__name__] = Rule(offenders.__name__, severity, invariant, offenders)
        return offenders

    return register


def _stored_where_not(holds: str, stored: str, expected: str) -> str:
    """Select the stored candles for which something does not hold; a null does not hold either."""
    return (
        f"SELECT symbol, exchange, window_start, {stored} AS stored, {expected} AS expected "
        f"FROM stored WHERE NOT coalesce({holds}, false)"
    )


@_rule("FAIL", "high_price is at least open_price and close_price")
def high_is_highest() -> str:
    return _stored_where_not(
        "high_price >= open_price AND high_price >= close_price",
        "coalesce(amount(high_price), 'NULL')",
        "'at least ' || amount(greatest(open_price, close_price))",
    )


@_rule("FAIL", "low_price is at most open_price and close_price")
def low_is_lowest() -> str:
    return _stored_where_not(
        "low_price <= open_price AND low_price <= close_price",
        "coalesce(amount(low_price), 'NULL')",
        "'at most ' || amount(least(open_price, close_price))",
    )


@_rule("FAIL", "vwap lies between low_price and high_price")
def vwap_in_range() -> str:
    return _stored_where_not(
        "vwap BETWEEN low_price AND high_price",
        "coalesce(amount(vwap), 'NULL')",
        "amount(low_price) || ' to ' || amount(high_price)",
    )


@_rule("FAIL", "volume is above zero")
def volume_is_positive() -> str:
    return _stored_where_not("volume > 0", "coalesce(amount(volume), 'NULL')", "'above 0'")


@_rule("FAIL", "trade_count is above zero")
def trades_are_counted() -> str:
    return _stored_where_not("trade_count > 0", "coalesce(CAST(trade_count AS VARCHAR), 'NULL')", "'above 0'")


@_rule("FAIL", "window_end is one timeframe after window_start")
def window_is_one_timeframe() -> str:
    end = f"window_start + {LENGTH}"
    return _stored_where_not(f"window_end = {end}", "instant(window_end)", f"instant({end})")


@_rule("FAIL", "window_start is a multiple of the timeframe, counted from the UTC epoch")
def window_is_aligned() -> str:
    aligned = f"window_start // {LENGTH} * {LENGTH}"
    return _stored_where_not(f"window_start = {aligned}", "instant(window_start)", f"instant({aligned})")


@_rule("FAIL", "window_date is the UTC date of window_start")
def window_date_is_its_day() -> str:
    day = "CAST(make_timestamp(window_start) AS DATE)"
    return _stored_where_not(
        f"window_date = {day}", "coalesce(CAST(window_date AS VARCHAR), 'NULL')", f"CAST({day} AS VARCHAR)"
    )


@_rule("FAIL", "symbol, exchange and window_start together are stored once")
def key_is_unique() -> str:
    return (
        "SELECT symbol, exchange, window_start, count(*) || ' rows' AS stored, '1 row' AS expected "
        "FROM stored GROUP BY ALL HAVING count(*) > 1"
    )


@_rule("FAIL", "every field equals a recomputation from the trades")
def fields_equal_the_trades() -> str:
    def differs(name: str) -> str:
        show = "CAST({} AS VARCHAR)" if name == "trade_count" else "amount({})"
        stored, expected = show.format(f"stored_{name}"), show.format(f"expected_{name}")
        return (
            f"SELECT symbol, exchange, window_start, '{name} ' || coalesce({stored}, 'NULL') AS stored, "
            f"{expected} AS expected FROM pairs "
            f"WHERE is_stored AND is_expected AND stored_{name} IS DISTINCT FROM expected_{name}"
        )

    return " UNION ALL ".join(differs(name) for name in VALUES)


@_rule("FAIL", "every window with trades has its candle")
def none_is_missing() -> str:
    return (
        "SELECT symbol, exchange, window_start, 'nothing' AS stored, expected_trade_count || ' trades' AS expected "
        f"FROM pairs WHERE NOT is_stored AND {FITS}"
    )


@_rule("FAIL", "no volume is too large for its column, so that its candle is withheld")
def none_is_withheld() -> str:
    return (
        "SELECT symbol, exchange, window_start, 'withheld' AS stored, 'volume ' || amount(expected_volume) AS expected "
        f"FROM pairs WHERE NOT is_stored AND NOT {FITS}"
    )


@_rule("FAIL", "every candle has trades")
def none_is_extra() -> str:
    return (
        "SELECT symbol, exchange, window_start, stored_trade_count || ' trades' AS stored, 'nothing' AS expected "
        "FROM pairs WHERE NOT is_expected"
    )


@_rule("FAIL", "a candle agrees with those of the smaller timeframe it spans")
def agrees_with_the_smaller() -> str:
    # The vwap of parts says nothing exact of the whole's, but for its bounds, which are rules of their own.
    fields = ("open_price", "high_price", "low_price", "close_price", "volume", "trade_count")

    def differs(name: str) -> str:
        show = "CAST({} AS VARCHAR)" if name == "trade_count" else "amount({})"
        stored, expected = show.format(f"stored.{name}"), show.format(f"whole.{name}")
        return (
            f"SELECT symbol, exchange, window_start, '{name} ' || coalesce({stored}, 'NULL') AS stored, "
            f"{expected} || ' by ' || getvariable('smaller_name') AS expected FROM stored JOIN whole "
            f"USING (symbol, exchange, window_start) WHERE stored.{name} IS DISTINCT FROM whole.{name}"
        )

    whole = (
        f"SELECT symbol, exchange, window_start // {LENGTH} * {LENGTH} AS window_start, "
        "arg_min(open_price, window_start) AS open_price, max(high_price) AS high_price, "
        "min(low_price) AS low_price, arg_max(close_price, window_start) AS close_price, "
        "sum(volume) AS volume, sum(trade_count) AS trade_count FROM smaller GROUP BY ALL"
    )
    return f"WITH whole AS ({whole}) " + " UNION ALL ".join(differs(name) for name in fields)


@_rule("WARN", f"at most {REJECTED_SHARE:.0%} of the trades of an hour are rejected")
def few_trades_are_rejected() -> str:
    return (
        "SELECT coalesce(symbol, '') AS symbol, coalesce(exchange, '') AS exchange, "
        "hour_number * 3600000000 AS window_start, "
        "count(*) FILTER (NOT good) || ' of ' || count(*) || ' trades rejected' AS stored, "
        f"'at most {REJECTED_SHARE:.0%}' AS expected FROM trades GROUP BY ALL "
        f"HAVING count(*) FILTER (NOT good) > {REJECTED_SHARE} * count(*)"
    )


@_rule("WARN", "the source's sequence numbers of a series have no gaps")
def sequences_have_no_gaps() -> str:
    span = "max(source_sequence) - min(source_sequence) + 1"
    return (
        'SELECT symbol, exchange, min("timestamp") // 3600000000 * 3600000000 AS window_start, '
        "count(DISTINCT source_sequence) || ' numbers' AS stored, "
        f"({span}) || ' from ' || min(source_sequence) || ' to ' || max(source_sequence) AS expected "
        "FROM trades WHERE good AND source_sequence IS NOT NULL GROUP BY symbol, exchange "
        f"HAVING {span} > count(DISTINCT source_sequence)"
    )


@_rule("WARN", "the newest candle is as new as the schedule asks for, unless nobody traded since")
def candles_are_fresh() -> str:
    return (
        "SELECT '' AS symbol, '' AS exchange, getvariable('due') AS window_start, "
        "'candles up to ' || instant(getvariable('newest')) || ', trades up to ' || instant(getvariable('traded')) "
        "AS stored, 'candles up to here' AS expected WHERE getvariable('traded') IS NOT NULL"
    )
