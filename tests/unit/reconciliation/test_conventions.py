"""Conventions of exchanges explain their differences, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_DOWN, Decimal
from itertools import pairwise
from typing import Any

import pytest

from ohlcv.model.tolerances import parse_tolerances
from ohlcv.reconciliation.report import Reconciliation
from support.candle_rows import MINUTE
from support.published_candles import UNIT, Published, random_candles

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
CENT = Decimal("0.01")


def outcomes(report: Reconciliation) -> list[tuple[str, list[str], list[str | None]]]:
    return [
        (each.outcome, each.fields, [difference.convention for difference in each.differences])
        for each in report.windows
    ]


def with_previous_close(candles: Sequence[Published]) -> list[Published]:
    """Return candles that open at the close of the one before, as an exchange publishes them."""
    found = [candles[0]]
    for before, each in pairwise(candles):
        close = before.close
        found.append(replace(each, open=close, high=max(each.high, close), low=min(each.low, close)))
    return found


def truncated(candle: Published, unit: Decimal, rounding: str = ROUND_DOWN) -> Published:
    return replace(candle, own_vwap=candle.vwap.quantize(unit, rounding))


def test_an_open_at_the_previous_close_is_explained(run: Any) -> None:
    ours = random_candles(1, 20, MINUTE)
    theirs = with_previous_close(ours)
    report = run(ours, theirs, exchange="BitMEX")
    assert report.counts["explained"] == 19
    assert {name for _, _, names in outcomes(report) for name in names} == {"open is the previous close"}
    assert {field for _, fields, _ in outcomes(report) for field in fields} == {"open", "high", "low"}
    assert (report.is_clean(), report.is_clean(strict=True)) == (True, False)


def test_only_the_previous_close_is_explained(run: Any) -> None:
    ours = [replace(each, high=Decimal(200), low=Decimal(50)) for each in random_candles(2, 6, MINUTE)]
    theirs = with_previous_close(ours)
    convention = "open is the previous close"
    # The convention says nothing of the first candle, of another open, and of a high above both.
    theirs[0] = replace(theirs[0], open=theirs[0].open + CENT)
    theirs[2] = replace(theirs[2], open=theirs[2].open + CENT)
    theirs[3] = replace(theirs[3], high=theirs[3].high + CENT)
    theirs[4] = replace(theirs[4], low=theirs[4].low - CENT)
    assert outcomes(run(ours, theirs, exchange="bitmex")) == [
        ("different", ["open"], [None]),
        ("explained", ["open"], [convention]),
        ("different", ["open"], [None]),
        ("different", ["open", "high"], [convention, None]),
        ("different", ["open", "low"], [convention, None]),
        ("explained", ["open"], [convention]),
    ]


def test_the_previous_close_explains_a_high_only_with_its_open(run: Any) -> None:
    first, second = random_candles(2, 2, MINUTE)
    ours = [replace(first, close=Decimal(150), high=Decimal(150)), replace(second, high=Decimal(120), low=Decimal(50))]
    theirs = [ours[0], replace(ours[1], high=Decimal(150))]
    assert outcomes(run(ours, theirs, exchange="bitmex")) == [("different", ["high"], [None])]


def test_a_real_difference_in_an_explained_candle_stays_a_difference(run: Any) -> None:
    ours = random_candles(3, 2, MINUTE)
    theirs = [truncated(each, CENT) for each in ours]
    theirs[1] = replace(theirs[1], close=theirs[1].close + CENT)
    report = run(ours, theirs, "kraken json")
    assert outcomes(report) == [
        ("explained", ["vwap"], ["vwap is truncated"]),
        ("different", ["close", "vwap"], [None, "vwap is truncated"]),
    ]
    assert not report.is_clean()


def test_only_a_truncated_vwap_is_explained(run: Any) -> None:
    ours = [replace(each, own_vwap=Decimal("100.12567891")) for each in random_candles(4, 4, MINUTE)]
    # The exact vwap of the third is 100.129999999, which is rounded to 100.13 in our table.
    ours[2] = replace(ours[2], own_vwap=Decimal("100.13"))
    theirs = [
        truncated(ours[0], CENT),
        truncated(ours[1], CENT, ROUND_CEILING),
        replace(ours[2], own_vwap=Decimal("100.12")),
        replace(ours[3], own_vwap=Decimal("100.11")),
    ]
    assert [outcome for outcome, _, _ in outcomes(run(ours, theirs, "kraken json"))] == [
        "explained",
        "different",
        "explained",
        "different",
    ]


def test_a_volume_in_the_quote_currency_is_explained(run: Any) -> None:
    ours = random_candles(5, 4, MINUTE)
    theirs = [replace(each, volume=each.quote_volume, own_vwap=each.vwap) for each in ours]
    theirs[1] = replace(theirs[1], volume=theirs[1].volume + CENT)
    report = run(ours, theirs, exchange="bitmex")
    assert [outcome for outcome, _, _ in outcomes(report)] == ["explained", "different", "explained", "explained"]


def test_a_rounded_quote_volume_is_explained(run: Any) -> None:
    # With a volume of 0.001 and three trades, the vwap may be wrong by 3e-8 / 0.001, and the roundings.
    volume, count = Decimal("0.001"), 3
    base = random_candles(6, 3, MINUTE)
    ours = [
        replace(each, volume=volume, trade_count=count, quote_volume=volume * 100, own_vwap=Decimal(100))
        for each in base
    ]
    limit = count * UNIT
    theirs = [
        replace(each, own_vwap=None, quote_volume=each.quote_volume + error)
        for each, error in zip(ours, (limit, limit + UNIT, -limit), strict=True)
    ]
    name = "quote volume is rounded"
    assert outcomes(run(ours, theirs, "binance milliseconds")) == [
        ("explained", ["vwap"], [name]),
        ("different", ["vwap"], [None]),
        ("explained", ["vwap"], [name]),
    ]


def test_a_rounded_quote_volume_explains_no_vwap_of_another_volume(run: Any) -> None:
    ours = random_candles(7, 1, MINUTE)
    theirs = [replace(ours[0], volume=ours[0].volume + UNIT)]
    ((outcome, fields, conventions),) = outcomes(run(ours, theirs, "binance milliseconds"))
    assert (outcome, fields[0], set(conventions)) == ("different", "volume", {None})


@pytest.mark.parametrize("exchange", ["kraken", "coinbase"])
def test_conventions_of_one_venue_do_not_explain_those_of_another(run: Any, exchange: str) -> None:
    ours = random_candles(8, 5, MINUTE)
    report = run(ours, with_previous_close(ours), exchange=exchange)
    assert report.counts["explained"] == 0
    assert report.counts["different"] == 4


def test_an_explained_difference_within_the_tolerance_needs_no_convention(run: Any) -> None:
    ours = random_candles(9, 3, MINUTE)
    theirs = [truncated(each, CENT) for each in ours]
    report = run(ours, theirs, "kraken json", tolerances=parse_tolerances("x", ["vwap=1"]))
    assert (report.counts["equal"], report.is_clean(strict=True)) == (3, True)
