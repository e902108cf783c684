"""Validation rules for candle tables. Each rule is a function that returns the SQL of its violations.

The SQL runs in DuckDB over these tables, with amounts as whole numbers of 10^-8, quote volumes as those of 10^-16, and
times in microseconds:

* `stored`: the stored candles of the validated ranges, one row per stored row, with the measures of an extended table;
* `expected`: the same candles recomputed from the trades;
* `pairs`: stored and expected candle of each key, without preserved candles (their trades have expired);
* `finer`: the stored candles of a finer timeframe, named by the variable `finer_name`;
* `trade_counts`: the number of trades read and of rejected ones of each series in each hour;
* `sequences`: first trade, and number and range of the different sequence numbers, of each series in each chunk read.

The freshness rule reads the variables `due` (end of the newest candle that should exist), `newest` (end of the newest
candle that exists) and `traded` (time of the newest trade between the two).

A violation has the columns symbol, exchange, window_start, stored, expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from ohlcv.model.table_contracts import MEASURES

Severity = Literal["FAIL", "WARN"]
# What a rule compares the stored candles with. A rule about the source examines the trades alone.
Basis = Literal["candles", "trades", "source", "finer timeframe", "schedule"]

# A higher share of rejected trades indicates a faulty source.
REJECTED_SHARE = 0.01
VALUES = ("open_price", "high_price", "low_price", "close_price", "volume", "trade_count", "vwap")

# SQL of the length of a window, and of whether the expected candle fits its columns: its vwap is null if its notional
# has too many digits.
LENGTH = "getvariable('length')"
FITS = "(expected_volume < getvariable('volume_limit') AND expected_vwap IS NOT NULL)"

# Candles that are stored and recomputed; stored candles that the ones of the finer timeframe combine to.
_BOTH_SIDES = "pairs WHERE is_stored AND is_expected"
_COMBINED = "stored JOIN combined USING (symbol, exchange, window_start) WHERE true"

Violations = Callable[[], str]


@dataclass(frozen=True)
class Rule:
    """A condition that every candle must meet, and the SQL of those that do not."""

    # Stored in reports, so it must never change.
    name: str
    severity: Severity
    invariant: str
    violations: Violations
    basis: Basis = "candles"
    # Whether the rule reports candles that are not stored.
    reports_missing: bool = False
    # Whether the rule examines measures, which only extended tables have.
    of_measures: bool = False


RULES: dict[str, Rule] = {}


def _rule(
    name: str,
    severity: Severity,
    invariant: str,
    basis: Basis = "candles",
    *,
    reports_missing: bool = False,
    of_measures: bool = False,
) -> Callable[[Violations], Violations]:
    def register(violations: Violations) -> Violations:
        RULES[name] = Rule(name, severity, invariant, violations, basis, reports_missing, of_measures)
        return violations

    return register


def rules_of(*bases: Basis, measures: bool) -> list[Rule]:
    """Return the rules that compare candles with one of these, without those of measures if there are none."""
    return [rule for rule in RULES.values() if rule.basis in bases and (measures or not rule.of_measures)]


# SQL of the text of a value in findings; null for null. All others are amounts.
_TEXTS = {
    "trade_count": "CAST({} AS VARCHAR)",
    "quote_volume": "quote_amount({})",
    "taker_buy_quote_volume": "quote_amount({})",
    "first_trade_at": "moment({})",
    "last_trade_at": "moment({})",
}


def text_of(name: str, column: str) -> str:
    """Return the SQL of the text of a column with values of that name."""
    return _TEXTS.get(name, "amount({})").format(column)


def _differing(names: Iterable[str], rows: str, stored: str, expected: str, shown: str) -> str:
    """Return the SQL of the rows in which a stored value differs from the expected one, for each of the names.

    `stored` and `expected` are what precedes the name of a value in the rows. `shown` formats an expected value.
    """
    return " UNION ALL ".join(
        f"SELECT symbol, exchange, window_start, '{name} ' || coalesce({text_of(name, stored + name)}, 'NULL') AS "
        f"stored, {shown.format(text_of(name, expected + name))} AS expected FROM {rows} "
        f"AND {stored}{name} IS DISTINCT FROM {expected}{name}"
        for name in names
    )


def _stored_where_not(condition: str, stored: str, expected: str) -> str:
    """Return the SQL of the stored candles that do not meet a condition; a null does not meet it."""
    return (
        f"SELECT symbol, exchange, window_start, {stored} AS stored, {expected} AS expected "
        f"FROM stored WHERE NOT coalesce({condition}, false)"
    )


@_rule("high_is_highest", "FAIL", "high_price is at least open_price and close_price")
def high_is_highest() -> str:
    return _stored_where_not(
        "high_price >= open_price AND high_price >= close_price",
        "coalesce(amount(high_price), 'NULL')",
        "'at least ' || amount(greatest(open_price, close_price))",
    )


@_rule("low_is_lowest", "FAIL", "low_price is at most open_price and close_price")
def low_is_lowest() -> str:
    return _stored_where_not(
        "low_price <= open_price AND low_price <= close_price",
        "coalesce(amount(low_price), 'NULL')",
        "'at most ' || amount(least(open_price, close_price))",
    )


@_rule("vwap_in_range", "FAIL", "vwap is between low_price and high_price")
def vwap_in_range() -> str:
    return _stored_where_not(
        "vwap BETWEEN low_price AND high_price",
        "coalesce(amount(vwap), 'NULL')",
        "amount(low_price) || ' to ' || amount(high_price)",
    )


@_rule("volume_is_positive", "FAIL", "volume is greater than zero")
def volume_is_positive() -> str:
    return _stored_where_not("volume > 0", "coalesce(amount(volume), 'NULL')", "'greater than 0'")


@_rule("trades_are_counted", "FAIL", "trade_count is greater than zero")
def trade_count_is_positive() -> str:
    return _stored_where_not("trade_count > 0", "coalesce(CAST(trade_count AS VARCHAR), 'NULL')", "'greater than 0'")


@_rule("window_is_one_timeframe", "FAIL", "window_end is one timeframe after window_start")
def window_is_one_timeframe() -> str:
    end = f"window_start + {LENGTH}"
    return _stored_where_not(f"window_end = {end}", "instant(window_end)", f"instant({end})")


@_rule("window_is_aligned", "FAIL", "window_start is a multiple of the timeframe, counted from the UTC epoch")
def window_is_aligned() -> str:
    aligned = f"floor_time(window_start, {LENGTH})"
    return _stored_where_not(f"window_start = {aligned}", "instant(window_start)", f"instant({aligned})")


@_rule("window_date_is_its_day", "FAIL", "window_date is the UTC date of window_start")
def window_date_matches_window_start() -> str:
    day = "CAST(make_timestamp(window_start) AS DATE)"
    return _stored_where_not(
        f"window_date = {day}", "coalesce(CAST(window_date AS VARCHAR), 'NULL')", f"CAST({day} AS VARCHAR)"
    )


@_rule("key_is_unique", "FAIL", "symbol, exchange and window_start together are stored once")
def key_is_unique() -> str:
    return (
        "SELECT symbol, exchange, window_start, count(*) || ' rows' AS stored, '1 row' AS expected "
        "FROM stored GROUP BY ALL HAVING count(*) > 1"
    )


@_rule("fields_equal_the_trades", "FAIL", "every field equals the recomputation from the trades", "trades")
def fields_match_recomputation() -> str:
    return _differing(VALUES, _BOTH_SIDES, "stored_", "expected_", "coalesce({}, 'a withheld candle')")


@_rule("none_is_missing", "FAIL", "every window with trades has its candle", "trades", reports_missing=True)
def no_missing_candles() -> str:
    return (
        "SELECT symbol, exchange, window_start, 'nothing' AS stored, expected_trade_count || ' trades' AS expected "
        f"FROM pairs WHERE NOT is_stored AND {FITS}"
    )


@_rule(
    "none_is_withheld",
    "FAIL",
    "no candle is withheld because its volume or its notional does not fit",
    "trades",
    reports_missing=True,
)
def no_withheld_candles() -> str:
    return (
        "SELECT symbol, exchange, window_start, 'withheld' AS stored, 'volume ' || amount(expected_volume) || "
        "CASE WHEN expected_vwap IS NULL THEN ' and a notional of more than 38 digits' ELSE '' END AS expected "
        f"FROM pairs WHERE NOT is_stored AND NOT {FITS}"
    )


@_rule("none_is_extra", "FAIL", "every candle has trades", "trades")
def no_orphan_candles() -> str:
    return (
        "SELECT symbol, exchange, window_start, stored_trade_count || ' trades' AS stored, 'nothing' AS expected "
        "FROM pairs WHERE NOT is_expected"
    )


@_rule(
    "agrees_with_the_smaller",
    "FAIL",
    "every candle matches the candles of the finer timeframe that it contains",
    "finer timeframe",
)
def matches_finer_timeframe() -> str:
    # The exact vwap cannot be computed from finer candles. The rule vwap_in_range checks it.
    fields = ("open_price", "high_price", "low_price", "close_price", "volume", "trade_count")

    combined = (
        f"SELECT symbol, exchange, floor_time(window_start, {LENGTH}) AS window_start, "
        "arg_min(open_price, window_start) AS open_price, max(high_price) AS high_price, "
        "min(low_price) AS low_price, arg_max(close_price, window_start) AS close_price, "
        "sum(volume) AS volume, sum(trade_count) AS trade_count FROM finer GROUP BY ALL"
    )
    shown = "{} || ' in ' || getvariable('finer_name')"
    return f"WITH combined AS ({combined}) {_differing(fields, _COMBINED, 'stored.', 'combined.', shown)}"


# A candle that was not rebuilt since the extension of its table has no measures.
_MEASURED = "quote_volume IS NOT NULL"


@_rule(
    "measures_are_complete",
    "FAIL",
    "a candle has all measures, none, or all but those of the taker, which are unknown where a trade has no side",
    of_measures=True,
)
def measures_are_complete() -> str:
    needed = f"({_MEASURED} AND first_trade_at IS NOT NULL AND last_trade_at IS NOT NULL)"
    pair = "(taker_buy_volume IS NULL) = (taker_buy_quote_volume IS NULL)"
    none = " AND ".join(f"{name} IS NULL" for name in MEASURES)
    absent = ", ".join(f"CASE WHEN {name} IS NULL THEN '{name}' END" for name in MEASURES)
    return _stored_where_not(
        f"{needed} AND {pair} OR {none}",
        f"'no ' || concat_ws(', ', {absent})",
        "'all measures, none, or all but those of the taker'",
    )


@_rule(
    "measures_equal_the_trades",
    "FAIL",
    "every measure equals the recomputation from the trades",
    "trades",
    of_measures=True,
)
def measures_match_recomputation() -> str:
    rows = f"{_BOTH_SIDES} AND stored_{_MEASURED}"
    return _differing(MEASURES, rows, "stored_", "expected_", "coalesce({}, 'NULL')")


@_rule(
    "measures_agree_with_the_smaller",
    "FAIL",
    "every measure matches those of the candles of the finer timeframe that the candle contains, where all have them",
    "finer timeframe",
    of_measures=True,
)
def measures_match_finer_timeframe() -> str:
    def total(name: str) -> str:
        # In two parts, because the sum of numbers of 38 digits may exceed 128 bits. No candle stores such a sum.
        high, low = f"sum({name} // {10**19})", f"sum({name} % {10**19})"
        fits = f"count({name}) = count(*) AND {high} + {low} // {10**19} < {10**19}"
        return f"CASE WHEN {fits} THEN {high} * {10**19} + {low} END AS {name}"

    totals = ", ".join(map(total, ("quote_volume", "taker_buy_volume", "taker_buy_quote_volume")))
    combined = (
        f"SELECT symbol, exchange, floor_time(window_start, {LENGTH}) AS window_start, {totals}, "
        "min(first_trade_at) AS first_trade_at, max(last_trade_at) AS last_trade_at "
        f"FROM finer GROUP BY ALL HAVING bool_and({_MEASURED})"
    )
    rows = f"{_COMBINED} AND stored.{_MEASURED}"
    shown = "coalesce({}, 'NULL') || ' in ' || getvariable('finer_name')"
    return f"WITH combined AS ({combined}) {_differing(MEASURES, rows, 'stored.', 'combined.', shown)}"


@_rule(
    "few_trades_are_rejected", "WARN", f"at most {REJECTED_SHARE:.0%} of the trades of an hour are rejected", "source"
)
def few_trades_are_rejected() -> str:
    return (
        "SELECT symbol, exchange, hour_number * 3600000000 AS window_start, "
        "rejected || ' of ' || trades || ' trades rejected' AS stored, "
        f"'at most {REJECTED_SHARE:.0%}' AS expected FROM trade_counts WHERE rejected > {REJECTED_SHARE} * trades"
    )


@_rule("sequences_have_no_gaps", "WARN", "the source's sequence numbers of a series have no gaps", "source")
def sequences_have_no_gaps() -> str:
    span = "max(highest) - min(lowest) + 1"
    return (
        "SELECT symbol, exchange, floor_time(min(first_time), 3600000000) AS window_start, "
        "sum(numbers) || ' numbers' AS stored, "
        f"({span}) || ' from ' || min(lowest) || ' to ' || max(highest) AS expected "
        f"FROM sequences GROUP BY symbol, exchange HAVING {span} > sum(numbers)"
    )


@_rule(
    "candles_are_fresh",
    "WARN",
    "the newest candle is as recent as the schedule requires, unless there were no later trades",
    "schedule",
)
def candles_are_fresh() -> str:
    return (
        "SELECT '' AS symbol, '' AS exchange, getvariable('due') AS window_start, "
        "'candles up to ' || instant(getvariable('newest')) || ', trades up to ' || instant(getvariable('traded')) "
        "AS stored, 'candles up to here' AS expected WHERE getvariable('traded') IS NOT NULL"
    )
