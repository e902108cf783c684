"""Random deliveries of trades with every irregularity that the coverage counts."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from support.coverage_site import HOUR, CoverageSite, delivery
from support.reference_model import HOUR_MICROSECONDS, Trade, partition_hour

# The last exchange stops after the first rounds.
SERIES = [("X", "BTC"), ("X", "ETH"), ("Y", "BTC"), ("dead", "BTC")]
ROUNDS_OF_DEAD = 2
# Hours that are loaded in time, and one that is loaded late.
HOURS = [HOUR - number for number in range(4)]
LATE_HOUR = HOUR - 200
# A value for each way to reject a delivery.
FAULTS: tuple[dict[str, Any], ...] = (
    {"symbol": None},
    {"exchange": None},
    {"symbol": None, "exchange": None},
    {"timestamp": None},
    {"trade_id": None, "message_id": None},
    {"price": None},
    {"price": 0},
    {"price": -1},
    {"quantity": None},
    {"quantity": 0},
    {"timestamp": HOUR * HOUR_MICROSECONDS - 1_000 * HOUR_MICROSECONDS},
    {"exchange_hour": None},
)


@dataclass
class RandomDeliveries:
    """A history of loads. `step` makes one of them, and several changes of what is stored."""

    site: CoverageSite
    chance: random.Random
    _round: int = 0
    _numbers: dict[tuple[str, str], int] = field(default_factory=dict)

    def step(self) -> None:
        """Load some deliveries in several commits, and delete or rewrite some."""
        self._round += 1
        for _ in range(self.chance.randrange(1, 4)):
            self.site.deliver(*self._batch())
        changes: tuple[Callable[[], None], ...] = (self._delete_hour, self._rewrite, self._nothing)
        self.chance.choice(changes)()

    def _batch(self) -> list[Trade]:
        hours = self.chance.sample(HOURS, 2) + ([LATE_HOUR] if self.chance.random() < 0.3 else [])
        batch = [self._trade(self.chance.choice(hours)) for _ in range(40)]
        again = [*batch, *(trade for trade in self.site.trades if trade.timestamp is not None)]
        batch += [self._version(self.chance.choice(again)) for _ in range(15)]
        batch += [replace(self._trade(self.chance.choice(hours)), **fault) for fault in self.chance.sample(FAULTS, 5)]
        self.chance.shuffle(batch)
        return batch

    def _trade(self, hour: int) -> Trade:
        exchange, symbol = self.chance.choice(SERIES if self._round <= ROUNDS_OF_DEAD else SERIES[:-1])
        number = self._numbers.get((exchange, symbol), 0) + self.chance.choice((1, 1, 1, 2, 50))
        self._numbers[exchange, symbol] = number
        # Few minutes, so that some have no trade, and times at the boundaries of minutes and of the hour.
        minute, offset = self.chance.choice((0, 7, 8, 30, 59)), self.chance.choice((0, 1, 30_000_000, 59_999_999))
        seconds = (minute * 60_000_000 + offset) / 1_000_000
        trade = delivery(seconds, str(number), hour, exchange=exchange, symbol=symbol)
        ids: dict[str, Any] = self.chance.choice(
            ({}, {"trade_id": None, "message_id": str(number)}, {"message_id": "m"})
        )
        return replace(
            trade,
            source_sequence=self.chance.choice((number, number, number, None)),
            ingestion_timestamp=self._arrival(trade.timestamp or 0),
            platform_sequence=self.chance.choice((None, 1, 2)),
            **ids,
        )

    def _arrival(self, time: int) -> int | None:
        bounds = (
            -5_000_000,
            0,
            100_000,
            100_001,
            1_000_001,
            60_000_000,
            60_000_001,
            300_000_001,
            86_400_000_000,
            86_400_000_001,
        )
        return self.chance.choice((None, *(time + bound for bound in bounds)))

    def _version(self, trade: Trade) -> Trade:
        """Return another delivery of a trade: the same values, or corrected ones."""
        values: dict[str, Any] = {"ingestion_timestamp": self._arrival(trade.timestamp or 0)}
        if self.chance.random() < 0.5:
            in_hour = (partition_hour(trade) * 60 + self.chance.randrange(60)) * 60_000_000
            corrections = (
                {"price": self.chance.randrange(1, 9)},
                {"quantity": self.chance.randrange(1, 9)},
                # To another minute.
                {"timestamp": in_hour},
                {"source_sequence": self.chance.randrange(1_000)},
            )
            values |= self.chance.choice(corrections)
        return replace(trade, **values)

    def _delete_hour(self) -> None:
        hours = {partition_hour(trade) for trade in self.site.trades}
        if len(hours) > 1:
            self.site.delete(self.chance.choice(sorted(hours)))

    def _rewrite(self) -> None:
        """Rewrite all files, without some of the deliveries."""
        self.site.replace(*(trade for trade in self.site.trades if self.chance.random() < 0.9))

    def _nothing(self) -> None:
        pass
