"""Trades of two days on three exchanges with planted faults, and their coverage."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from ohlcv.config.settings import Settings
from ohlcv.coverage.notes import NoteRequest, record_note
from ohlcv.model.intervals import HOUR
from ohlcv.model.source_hours import hour_number
from support.candle_rows import at
from support.coverage_site import CoverageSite, delivery
from support.reference_model import Trade

BEGIN = at("2026-03-01")
# The hours that are counted. The next one has begun.
HOURS = 48
EXCHANGES = ("binance", "coinbase", "kraken")
SYMBOLS = ("ADA-USD", "BTC-USD", "ETH-USD", "LTC-USD")
PER_HOUR = 12
# Hours after BEGIN.
OUTAGE = range(31, 36)
OUTAGE_EXCHANGE = "kraken"
# Hours in which numbers of one series are missing, and how many.
GAPS = {("coinbase", "ETH-USD"): {28: 4, 29: 7, 42: 3}, ("binance", "BTC-USD"): {38: 5}}
SILENT = {("binance", "LTC-USD"): range(40, 42), ("coinbase", "LTC-USD"): range(33, 34)}
WITHOUT_NUMBERS = ("coinbase", "ADA-USD")
REJECTED_HOUR = 30


def plant_coverage(settings: Settings) -> None:
    """Deliver the trades to empty tables, record their coverage, and explain the outage by a note."""
    site = CoverageSite(settings)
    site.deliver(*trades())
    site.now = BEGIN + HOURS * HOUR + timedelta(minutes=30)
    site.record()
    note = NoteRequest(
        kind="outage",
        exchange=OUTAGE_EXCHANGE,
        symbol=None,
        start_time=BEGIN + OUTAGE.start * HOUR,
        end_time=BEGIN + OUTAGE.stop * HOUR,
        author="Ada",
        reason="Matching engine stopped, see the exchange's status page",
    )
    record_note(settings, note, site.now)


def trades() -> Iterator[Trade]:
    """Yield the trades of each series, and one that is rejected and has no series."""
    for exchange in EXCHANGES:
        for symbol in SYMBOLS:
            yield from _series(exchange, symbol)
    yield delivery(5, "rejected", _number(REJECTED_HOUR), exchange=None, symbol=None)


def _series(exchange: str, symbol: str) -> Iterator[Trade]:
    gaps = GAPS.get((exchange, symbol), {})
    sequence = 0
    for hour in range(HOURS + 1):
        if hour in SILENT.get((exchange, symbol), ()) or (exchange == OUTAGE_EXCHANGE and hour in OUTAGE):
            continue
        for place in range(PER_HOUR):
            # Missing numbers are in the middle of the hour.
            sequence += 1 + (gaps.get(hour, 0) if place == PER_HOUR // 2 else 0)
            number = None if (exchange, symbol) == WITHOUT_NUMBERS else sequence
            seconds = 3600 * place / PER_HOUR
            identity = f"{hour}-{place}"
            yield delivery(seconds, identity, _number(hour), exchange=exchange, symbol=symbol, source_sequence=number)


def _number(hour: int) -> int:
    return hour_number(BEGIN) + hour
