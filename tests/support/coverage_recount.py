"""Recount of a list of deliveries in plain Python, slow but easy to verify by reading.

Tests compare the coverage with it, so it shares no code with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from support.candle_rows import Row
from support.reference_model import HOUR_MICROSECONDS, Trade, partition_hour, rejection_reason, version_order

# Exchange, symbol, hour since the epoch.
Cell = tuple[str, str, int]
REASONS = ("null_key", "not_a_number", "infinite", "overflow", "bad_price", "bad_quantity", "wrong_partition")
DELAYS_US = (100_000, 1_000_000, 10_000_000, 60_000_000, 300_000_000, 3_600_000_000, 86_400_000_000)


def recount(trades: Iterable[Trade], *, every_row: bool = False) -> dict[Cell, Row]:
    """Return the facts of each series and hour, with times in microseconds."""
    cells: defaultdict[Cell, list[Trade]] = defaultdict(list)
    for trade in trades:
        cells[trade.exchange or "", trade.symbol or "", partition_hour(trade)].append(trade)
    return {cell: _facts(deliveries, every_row) for cell, deliveries in cells.items()}


def _facts(deliveries: Sequence[Trade], every_row: bool) -> Row:
    reasons = [rejection_reason(trade, every_row=every_row) for trade in deliveries]
    valid = [trade for trade, reason in zip(deliveries, reasons, strict=True) if reason is None]
    identities: defaultdict[Any, list[Trade]] = defaultdict(list)
    for number, trade in enumerate(valid):
        identity: Any = ("trade", trade.trade_id) if trade.trade_id is not None else ("message", trade.message_id)
        identities[number if every_row else identity].append(trade)
    accepted, duplicates, superseded = [], 0, 0
    delays = [0] * 9
    for versions in identities.values():
        latest = max(versions, key=version_order)
        accepted.append(latest)
        rest = [trade for trade in versions if trade is not latest]
        same = [trade for trade in rest if _values(trade) == _values(latest)]
        duplicates += len(same)
        superseded += len(rest) - len(same)
        delays[_delay_number(versions, latest)] += 1
    times = [trade.timestamp or 0 for trade in accepted]
    numbers = [trade.source_sequence for trade in valid if trade.source_sequence is not None]
    minutes = {time % HOUR_MICROSECONDS // 60_000_000 for time in times}
    return {
        "deliveries": len(deliveries),
        "accepted": len(accepted),
        "duplicates": duplicates,
        "superseded": superseded,
        **{f"rejected_{reason}": reasons.count(reason) for reason in REASONS},
        "first_trade": min(times, default=None),
        "last_trade": max(times, default=None),
        "lowest_sequence": min(numbers, default=None),
        "highest_sequence": max(numbers, default=None),
        "sequences": len(set(numbers)),
        "minutes": sum(2**minute for minute in minutes),
        "delays": delays,
        "source_expired": False,
    }


def _values(trade: Trade) -> Any:
    return trade.timestamp, trade.price, trade.quantity


def _delay_number(versions: Sequence[Trade], latest: Trade) -> int:
    arrivals = [trade.ingestion_timestamp for trade in versions if trade.ingestion_timestamp is not None]
    if not arrivals:
        return 8
    delay = min(arrivals) - (latest.timestamp or 0)
    return next((number for number, bound in enumerate(DELAYS_US) if delay <= bound), 7)
