"""Random deliveries of one exchange: its trades, their versions and copies, and rows that are rejected."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import count
from typing import Any

from support.random_history_steps import Arrival, Row
from support.reference_model import EPOCH_DATE, HOUR_MICROSECONDS, Trade, partition_hour
from support.strategies import AMOUNTS, DEFECTS, MESSAGE_IDS, MINUTE, OFFSETS, TRADE_IDS, stored_in, with_defect

# Ways to store a row under a partition that is no hour.
NO_HOURS: tuple[dict[str, Any], ...] = ({"exchange_hour": None}, {"exchange_hour": 24}, {"exchange_date": None})
# Number of amounts, the last ones, whose sums do not fit the volume. Few exchanges use them.
TOO_LARGE = 2
KINDS = {"new": 12, "copy": 2, "version": 5, "same id": 1, "invalid": 2, "no hour": 0.2}


class RandomSeries:
    """The series of one exchange. Its deliveries depend only on its own random numbers."""

    def __init__(self, exchange: str, chance: random.Random, numbers: count[int]) -> None:
        self.exchange = exchange
        self._chance = chance
        self._numbers = numbers
        self._symbols = chance.sample(("BTC-USD", "ETH-USD", "A", ""), chance.choice((1, 1, 2)))
        self._ids = chance.choice(("numbers", "texts", "messages", "mixed", "mixed"))
        self._has_sequences = chance.random() < 0.5
        self._has_sides = chance.random() < 0.7
        self._amounts = AMOUNTS if chance.random() < 0.08 else AMOUNTS[:-TOO_LARGE]
        # Few times within an hour, so that timestamps are equal and windows contain several trades.
        self._offsets = [*chance.sample(OFFSETS, 3), *(chance.randrange(HOUR_MICROSECONDS) for _ in range(2))]
        self._delivered: list[Row] = []
        self._sequence = 0

    def deliver(self, hours: Sequence[int]) -> list[Row]:
        """Return some rows whose new trades are in the given hours."""
        kinds = self._chance.choices(list(KINDS), list(KINDS.values()), k=self._chance.randrange(1, 7))
        return [self._row(kind, hours) for kind in kinds]

    def numbers(self, share: float) -> list[int]:
        """Return the numbers of a share of all rows so far."""
        return [row.number for row in self._delivered if self._chance.random() < share]

    def _row(self, kind: str, hours: Sequence[int]) -> Row:
        row = self._new(hours)
        if self._delivered and kind in ("copy", "version", "same id"):
            old = self._chance.choice(self._delivered)
            if kind == "copy":
                row = replace(old, number=row.number)
            elif kind == "version":
                row = self._version(old, row)
            else:
                # Another trade: an id identifies a trade within its hour only.
                same_id = replace(row.trade, trade_id=old.trade.trade_id, message_id=old.trade.message_id)
                row = replace(row, trade=same_id)
        elif kind == "invalid":
            trade = row.trade
            for defect in self._chance.sample(DEFECTS, self._chance.choice((1, 1, 2))):
                trade = with_defect(trade, defect)
            row = replace(row, trade=trade)
        elif kind == "no hour":
            row = replace(row, trade=replace(row.trade, **self._chance.choice(NO_HOURS)))
        if kind not in ("invalid", "no hour"):
            self._delivered.append(row)
        return row

    def _new(self, hours: Sequence[int]) -> Row:
        number = next(self._numbers)
        hour = self._chance.choice(hours)
        self._sequence += self._chance.choice((1, 1, 1, 0, 3))
        trade_id, message_id = self._new_ids(number)
        trade = Trade(
            message_id=message_id,
            trade_id=trade_id,
            symbol=self._chance.choice(self._symbols),
            exchange=self.exchange,
            timestamp=hour * HOUR_MICROSECONDS + self._chance.choice(self._offsets),
            price=self._amount(),
            quantity=self._amount(),
            source_sequence=self._sequence if self._has_sequences and self._chance.random() < 0.9 else None,
            ingestion_timestamp=None,
            platform_sequence=self._chance.choice((None, None, 1, 2)),
            exchange_date=EPOCH_DATE,
            exchange_hour=0,
            side=self._side(),
        )
        return Row(number, stored_in(trade, hour), self._arrival())

    def _new_ids(self, number: int) -> tuple[str | None, str | None]:
        kind = self._ids
        if kind == "mixed":
            kind = self._chance.choice(("numbers", "texts", "messages", "odd"))
        message_id = self._chance.choice((None, f"m{number}", self._chance.choice(MESSAGE_IDS)))
        if kind == "messages":
            return None, message_id or f"m{number}"
        trade_id = {"numbers": str(number), "texts": f"t{number}", "odd": self._chance.choice(TRADE_IDS)}[kind]
        return trade_id, message_id

    def _version(self, old: Row, new: Row) -> Row:
        """Return another version of a trade: same identity and hour; all other values may differ, even the minute."""
        trade, values = old.trade, new.trade
        names = self._chance.choice(
            (
                ("price",),
                ("quantity",),
                ("side",),
                ("timestamp",),
                ("price", "quantity", "side", "source_sequence", "platform_sequence"),
                ("price", "timestamp", "message_id"),
                (),
            )
        )
        changed = {name: getattr(values, name) for name in names}
        if "timestamp" in changed:
            changed["timestamp"] = partition_hour(trade) * HOUR_MICROSECONDS + self._chance.choice(
                (*self._offsets, self._chance.randrange(60) * MINUTE)
            )
        if trade.trade_id is None:
            changed.pop("message_id", None)
        return Row(new.number, replace(trade, **changed), new.arrival)

    def _arrival(self) -> Arrival:
        return self._chance.choices(("now", "null", "early", "tie"), (16, 1, 1, 1))[0]

    def _amount(self) -> Decimal:
        if self._chance.random() < 0.5:
            return self._chance.choice(self._amounts)
        return Decimal(f"{self._chance.randrange(1, 10**12)}E-8")

    def _side(self) -> str | None:
        side = self._chance.choice(("BUY", "SELL"))
        return side if self._has_sides else self._chance.choice((side, "buy", "", None))
