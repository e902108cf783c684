"""Comparison with published candles: every planted difference is found, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import pytest

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import widen_volume
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import from_microseconds
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, Timeframe
from ohlcv.model.tolerances import parse_tolerances
from ohlcv.reconciliation.reconcile import Request, reconcile
from ohlcv.reconciliation.report import Reconciliation
from support.candle_rows import HOUR, MINUTE, write_candles
from support.default_tables import candles_contract
from support.published_candles import (
    FETCHED,
    LAYOUTS,
    NOW,
    START,
    Published,
    empty,
    lines,
    random_candles,
    write_file,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")

Found = dict[datetime, tuple[str, list[str]]]
FIELDS = ("open", "high", "low", "close", "volume", "trade_count", "vwap")


def found(report: Reconciliation) -> Found:
    return {from_microseconds(each.start): (each.outcome, each.fields) for each in report.windows}


def changed(candle: Published, field: str) -> Published:
    """Return a candle with another value of a field, so that high is not below low."""
    value = getattr(candle, field)
    if field == "vwap":
        return replace(candle, own_vwap=candle.vwap + 1)
    step = -1 if field == "low" else 1
    return replace(candle, **{field: value + step})


@pytest.mark.parametrize("timeframe", DEFAULT_TIMEFRAMES.values(), ids=str)
@pytest.mark.parametrize("layout", ["binance milliseconds", "kraken csv"])
def test_equal_candles_have_no_difference(run: Any, layout: str, timeframe: Timeframe) -> None:
    candles = random_candles(1, 3, timeframe)
    report = run(candles, candles, layout, timeframe, fetched_at=None)
    assert report.counts == {"equal": 3, "different": 0, "explained": 0, "only ours": 0, "only theirs": 0}
    assert (report.is_clean(), found(report), report.notes) == (True, {}, ())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_planted_difference_is_found_and_nothing_else(run: Any, layout: str) -> None:
    ours = random_candles(2, 60, MINUTE)
    theirs = dict(enumerate(ours))
    expected: Found = {}
    fields = [field for field in FIELDS if (field, layout) != ("vwap", "kraken csv")]
    for number, field in enumerate(fields, 3):
        if field == "vwap" and layout.startswith("binance"):
            # Beyond what the rounding of quote volumes explains.
            theirs[number] = replace(ours[number], quote_volume=ours[number].quote_volume + 1)
        elif field == "volume" and layout.startswith("binance"):
            more = ours[number].volume * 2
            theirs[number] = replace(ours[number], volume=more, quote_volume=ours[number].quote_volume * 2)
        elif field == "volume":
            theirs[number] = replace(changed(ours[number], field), own_vwap=ours[number].vwap)
        else:
            theirs[number] = changed(ours[number], field)
        expected[ours[number].start] = ("different", [field])
    # Two fields at once.
    theirs[20] = changed(changed(ours[20], "open"), "close")
    expected[ours[20].start] = ("different", ["open", "close"])
    # We have no trades in 30 and 31, they have none in 40 and 41; 50 is empty on both sides.
    stored = [each for number, each in enumerate(ours) if number not in (30, 31, 50)]
    expected |= {ours[number].start: ("only theirs", list(FIELDS)) for number in (30, 31)}
    del theirs[40]
    theirs[41] = empty(theirs[39], MINUTE)
    theirs[41] = replace(theirs[41], start=ours[41].start)
    theirs[50] = empty(theirs[49], MINUTE)
    expected |= {ours[number].start: ("only ours", list(FIELDS)) for number in (40, 41)}
    report = run(stored, list(theirs.values()), layout)
    if "kraken csv" in layout:
        names = [name for name in FIELDS if name != "vwap"]
        expected |= {ours[number].start: ("only theirs", names) for number in (30, 31)}
    assert found(report) == expected
    assert report.counts["equal"] == 60 - len(expected)
    assert not report.is_clean()


def test_a_difference_has_both_values_and_their_distance(run: Any) -> None:
    ours = random_candles(3, 2, HOUR)
    theirs = [ours[0], replace(ours[1], close=ours[1].close - Decimal("0.125"))]
    (window,) = run(ours, theirs, timeframe=HOUR).windows
    (difference,) = window.differences
    assert (difference.ours, difference.theirs) == (ours[1].close, ours[1].close - Decimal("0.125"))
    assert difference.difference == Decimal("-0.125")
    assert difference.to_json()["difference"] == "-0.125"


def test_differences_beyond_the_digits_of_ours_are_found(run: Any) -> None:
    ours = random_candles(3, 1, HOUR)
    theirs = [replace(ours[0], close=ours[0].close + Decimal("1e-18"))]
    (window,) = run(ours, theirs, timeframe=HOUR).windows
    assert window.differences[0].difference == Decimal("1e-18")


TOLERANCES = [
    ("close=0.01", "0.01", "0.010000000000000001"),
    ("close=2ticks,tick=0.005", "0.01", "0.010000000000000001"),
    ("volume=10%", "0.5", "-0.5"),
]


@pytest.mark.parametrize(("text", "limit", "beyond"), TOLERANCES)
def test_a_tolerance_permits_its_limit_and_not_more(run: Any, text: str, limit: str, beyond: str) -> None:
    field = text.partition("=")[0]
    # 10 % of the published 5 are 0.5; of the published 4 less than the difference.
    ours = [replace(each, close=Decimal(5), high=Decimal(9), low=Decimal(1)) for each in random_candles(4, 4, MINUTE)]
    ours = [replace(each, volume=Decimal("4.5"), own_vwap=Decimal(5)) for each in ours]
    theirs = [replace(each, **{field: getattr(each, field) + Decimal(limit)}) for each in ours[:2]]
    theirs += [replace(each, **{field: getattr(each, field) + Decimal(beyond)}) for each in ours[2:]]
    report = run(ours, theirs, tolerances=parse_tolerances("--tolerance", text.split(",")))
    assert found(report) == {each.start: ("different", [field]) for each in ours[2:]}
    assert (report.counts["equal"], report.within_tolerance) == (2, 2)
    assert run([], theirs[:2], tolerances=parse_tolerances("x", text.split(","))).is_clean()


def test_a_tolerance_of_one_field_permits_no_difference_of_another(run: Any) -> None:
    ours = random_candles(5, 2, MINUTE)
    theirs = [replace(each, volume=each.volume + 1, own_vwap=each.vwap, trade_count=9) for each in ours]
    report = run(ours, theirs, tolerances=parse_tolerances("x", ["trade_count=9"]))
    assert found(report) == {each.start: ("different", ["volume"]) for each in ours}


def test_an_unfinished_last_candle_is_ignored(run: Any) -> None:
    ours = random_candles(6, 3, MINUTE)
    theirs = [*ours[:2], changed(ours[2], "volume")]
    report = run(ours, theirs, fetched_at=ours[2].start + timedelta(seconds=59))
    assert (report.counts["equal"], found(report)) == (2, {})
    assert report.notes == ("candles: the last candle at 2026-03-01T00:02:00Z was not finished: ignored",)
    report = run([], theirs, fetched_at=ours[2].start + timedelta(seconds=60))
    assert list(found(report)) == [ours[2].start]


def test_windows_that_are_not_built_are_ignored(run: Any) -> None:
    theirs = random_candles(7, 4, MINUTE)
    report = run(theirs[:2], theirs)
    assert (report.counts["equal"], found(report)) == (2, {})
    assert report.notes == ("candles: 2 windows after 2026-03-01T00:02:00Z, which are not built: ignored",)


def test_windows_before_the_retention_cutoff_are_ignored(run: Any) -> None:
    theirs = random_candles(8, 4, MINUTE, START - timedelta(minutes=2))
    # 90 days of retention end with 28 February.
    report = run(theirs[1:], theirs, now=START + timedelta(days=90))
    assert (report.counts["equal"], found(report)) == (2, {})
    assert report.notes == ("candles: 2 windows before the retention cutoff 2026-03-01T00:00:00Z: ignored",)


def test_candles_outside_the_range_of_a_file_are_not_compared(run: Any) -> None:
    ours = random_candles(9, 10, MINUTE)
    report = run(ours, ours[3:6])
    assert (report.counts["equal"], found(report)) == (3, {})


def test_candles_of_other_series_are_not_compared(run: Any, settings: Settings) -> None:
    ours = random_candles(10, 3, MINUTE)
    write_candles(settings, MINUTE, ours[1].row(MINUTE, symbol="ETH"), ours[1].row(MINUTE, exchange="Y"))
    report = run([ours[0], ours[2]], [ours[0], ours[2]])
    assert (report.counts["equal"], found(report)) == (2, {})


def test_the_unfinished_candle_of_a_reply_is_ignored(settings: Settings, tmp_path: Path) -> None:
    ours = random_candles(11, 3, MINUTE)
    write_candles(settings, MINUTE, *(each.row(MINUTE) for each in ours))
    path = write_file(tmp_path, "kraken json", [*ours[:2], changed(ours[2], "close")], MINUTE)
    last = int(ours[2].start.timestamp())
    path.write_text(path.read_text().replace(f'"last": {last}', f'"last": {last - 60}'))
    report = reconcile(settings, [path], Request("kraken-ohlc", "X", "BTC", MINUTE, fetched_at=FETCHED), NOW)
    assert (report.counts["equal"], found(report)) == (2, {})


def test_a_volume_that_is_published_as_zero_has_no_vwap(run: Any) -> None:
    ours = random_candles(12, 2, MINUTE)
    theirs = [ours[0], replace(ours[1], volume=Decimal(0), quote_volume=Decimal(0))]
    assert found(run(ours, theirs, "binance json")) == {ours[1].start: ("different", ["volume"])}


def test_files_with_and_without_a_field_are_compared_together(settings: Settings, tmp_path: Path) -> None:
    ours = random_candles(13, 4, MINUTE)
    write_candles(settings, MINUTE, *(each.row(MINUTE) for each in ours))
    paths = [
        write_file(tmp_path, "kraken json", [ours[0], changed(ours[1], "vwap")], MINUTE, "a"),
        write_file(tmp_path, "kraken csv", [ours[2], changed(ours[3], "close")], MINUTE, "b"),
    ]
    report = reconcile(settings, paths, Request("kraken-ohlc", "X", "BTC", MINUTE, fetched_at=FETCHED), NOW)
    assert found(report) == {ours[1].start: ("different", ["vwap"]), ours[3].start: ("different", ["close"])}


@pytest.mark.parametrize("volume", ["7.5", "12345678901234567890123456.25"])
def test_candles_of_a_widened_table_are_compared(run: Any, settings: Settings, volume: str) -> None:
    widen_volume(settings, candles_contract(MINUTE))
    ours = [replace(each, volume=Decimal(volume), own_vwap=each.vwap) for each in random_candles(14, 2, MINUTE)]
    with localcontext(prec=48):
        other = ours[1].volume + Decimal("1e-18")
    report = run(ours, [ours[0], replace(ours[1], volume=other)])
    assert (report.counts["equal"], found(report)) == (1, {ours[1].start: ("different", ["volume"])})
    assert report.windows[0].differences[0].difference == Decimal("1e-18")


def test_a_window_that_is_stored_twice_is_named(run: Any) -> None:
    ours = random_candles(15, 3, MINUTE)
    with pytest.raises(OhlcvError) as caught:
        run([*ours, ours[1]], ours)
    assert str(caught.value) == (
        "the 1m candle at 2026-03-01T00:01:00Z is stored 2 times: rebuild its day by ohlcv_reprocess or 'ohlcv build'"
    )
    # One that is not compared does not matter.
    assert found(run([], ours[2:])) == {}


@pytest.mark.parametrize("exchange", ["X", "BITMEX"])
@pytest.mark.parametrize(("field", "column"), [("close", "close_price"), ("vwap", "vwap")])
def test_a_stored_candle_without_a_value_is_different(
    run: Any, settings: Settings, field: str, column: str, exchange: str
) -> None:
    ours = random_candles(16, 2, MINUTE)
    write_candles(settings, MINUTE, ours[0].row(MINUTE, exchange=exchange) | {column: None})
    report = run(ours[1:], [changed(ours[0], "volume"), ours[1]], exchange=exchange)
    assert report.counts["equal"] == 1
    (window,) = report.windows
    assert (window.outcome, field in window.fields) == ("different", True)
    (difference,) = (each for each in window.differences if each.field == field)
    assert (difference.ours, difference.difference, difference.convention) == (None, None, None)


def test_the_vwap_of_any_amounts_is_compared(run: Any) -> None:
    (ours,) = random_candles(17, 1, MINUTE)
    theirs = replace(ours, volume=Decimal("1e-8"), quote_volume=Decimal("9" * 30))
    report = run([replace(ours, volume=Decimal("1e-8"), own_vwap=ours.vwap)], [theirs], "binance milliseconds")
    assert found(report) == {ours.start: ("different", ["vwap"])}
    assert report.windows[0].differences[0].theirs == (10**30 - 1) * 10**8


def test_files_with_and_without_counts_are_compared_together(settings: Settings, tmp_path: Path) -> None:
    theirs = random_candles(18, 6, MINUTE)
    for number in (1, 4):
        theirs[number] = replace(empty(theirs[number - 1], MINUTE), start=theirs[number].start)
    write_candles(settings, MINUTE, *(theirs[number].row(MINUTE) for number in (0, 2, 3, 5)))
    counted = write_file(tmp_path, "generic", theirs[:3], MINUTE, "counted")
    other = tmp_path / "other"
    rows = [(e.start.isoformat(), e.open, e.high, e.low, e.close, e.volume) for e in theirs[3:]]
    other.write_text("window_start,open,high,low,close,volume\n" + lines(rows))
    request = Request("generic", "X", "BTC", MINUTE, fetched_at=FETCHED)
    report = reconcile(settings, [counted, other], request, NOW)
    assert (report.counts["equal"], found(report)) == (6, {})
