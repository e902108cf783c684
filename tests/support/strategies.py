"""Hypothesis strategies: short lists of trades with many edge cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import strategies as st

from support.reference_model import EPOCH_DATE, HOUR_MICROSECONDS, Trade, partition_hour

MINUTE = 60_000_000
SYMBOLS = ("BTC-USD", "ETH-USD")
EXCHANGES = ("COINBASE", "KRAKEN")
# Hour numbers of the two hours before and after midnight at the end of a month.
_MIDNIGHT = int(datetime(2026, 2, 1, tzinfo=UTC).timestamp()) // 3600
HOURS = (_MIDNIGHT - 2, _MIDNIGHT - 1, _MIDNIGHT, _MIDNIGHT + 1)

# Few offsets within an hour, so that many timestamps are equal; most lie on a window bound or 1 us beside it.
OFFSETS = (
    0,
    1,
    30_000_000,
    MINUTE - 1,
    MINUTE,
    MINUTE + 1,
    5 * MINUTE - 1,
    5 * MINUTE,
    30 * MINUTE - 1,
    30 * MINUTE,
    HOUR_MICROSECONDS - 1,
)
# Numbers that sort differently as text, equal numbers, numbers too long for a bigint and for a decimal(38, 0), digits
# that are not ASCII, and two texts whose order in UTF-16 differs from their order by code point.
TRADE_IDS = (
    "9",
    "10",
    "010",
    "a1",
    "A1",
    "10 ",
    "",
    "9" * 19,
    "1" + "0" * 19,
    "1" + "0" * 39,
    "9" * 39,
    "\N{ARABIC-INDIC DIGIT THREE}",
    "\N{REPLACEMENT CHARACTER}",
    "\N{GRINNING FACE}",
)
# Some equal a trade id, which must not make both the same trade.
MESSAGE_IDS = ("9", "10", "a1", "m-1", "m-2", "m-10")
MAX_AMOUNT = Decimal("9999999999.99999999")
MIN_AMOUNT = Decimal("0.00000001")
# Amounts of one and two steps give a vwap exactly between two steps of the column.
AMOUNTS = (
    MIN_AMOUNT,
    Decimal("0.00000002"),
    Decimal("0.00000003"),
    Decimal("0.33333333"),
    Decimal("1.00000000"),
    Decimal("2.00000000"),
    Decimal("3.00000000"),
    Decimal("67123.45678901"),
    Decimal("4999999999.99999999"),
    MAX_AMOUNT,
)
DEFECTS = (
    "symbol",
    "exchange",
    "timestamp",
    "ids",
    "price null",
    "price zero",
    "price negative",
    "quantity null",
    "quantity zero",
    "quantity negative",
    "one microsecond early",
    "one microsecond late",
    "first time",
    "last time",
    "next partition",
    "partition of the day before",
)
MAX_TRADES = 40


# One flat choice per field: a list draws hundreds of fields, and nested choices took five times as long.
_PLAIN_IDS = tuple(str(number) for number in range(90, 111))
_TRADE_IDS_OR_NONE = st.sampled_from((None, None, *TRADE_IDS, *_PLAIN_IDS))
_MESSAGE_IDS = st.sampled_from((*MESSAGE_IDS, *_PLAIN_IDS))
_MESSAGE_IDS_OR_NONE = st.sampled_from((None, None, *MESSAGE_IDS, *_PLAIN_IDS))
# Other texts than BUY and SELL are no side.
_SIDES_OR_NONE = st.sampled_from(("BUY", "SELL", "BUY", "SELL", "BUY", "SELL", "BUY", "buy", None))
_SEQUENCES_OR_NONE = st.sampled_from((None, 0, 1, 2, 10))
_FIRST_INGESTION = _MIDNIGHT * HOUR_MICROSECONDS
_INGESTION_TIMES_OR_NONE = st.sampled_from((None, *range(_FIRST_INGESTION, _FIRST_INGESTION + 4)))
# None stands for any other amount.
_AMOUNTS_OR_NONE = st.sampled_from((*AMOUNTS, None))
_UNITS = st.integers(1, 10**18 - 1)


@st.composite
def valid_trades(
    draw: st.DrawFn,
    hours: Sequence[int] = HOURS,
    symbols: Sequence[str] = SYMBOLS,
    exchanges: Sequence[str] = EXCHANGES,
    offsets: Sequence[int] = OFFSETS,
) -> Trade:
    """Draw a trade that no rule rejects."""
    trade_id = draw(_TRADE_IDS_OR_NONE)
    hour = draw(st.sampled_from(hours))
    return stored_in(
        Trade(
            message_id=draw(_MESSAGE_IDS if trade_id is None else _MESSAGE_IDS_OR_NONE),
            trade_id=trade_id,
            symbol=draw(st.sampled_from(symbols)),
            exchange=draw(st.sampled_from(exchanges)),
            timestamp=hour * HOUR_MICROSECONDS + draw(st.sampled_from(offsets)),
            price=_amount(draw),
            quantity=_amount(draw),
            source_sequence=draw(_SEQUENCES_OR_NONE),
            ingestion_timestamp=draw(_INGESTION_TIMES_OR_NONE),
            platform_sequence=draw(_SEQUENCES_OR_NONE),
            exchange_date=EPOCH_DATE,
            exchange_hour=0,
            side=draw(_SIDES_OR_NONE),
        ),
        hour,
    )


@st.composite
def versions(draw: st.DrawFn, trade: Trade) -> Trade:
    """Draw another version of a trade: same identity and hour; all other fields may differ, even the minute."""
    if draw(st.integers(0, 4)) == 0:
        return replace(trade, side=draw(_SIDES_OR_NONE))
    other = draw(valid_trades(hours=[partition_hour(trade)]))
    message_id = trade.message_id if trade.trade_id is None else other.message_id
    corrected = replace(
        other, symbol=trade.symbol, exchange=trade.exchange, trade_id=trade.trade_id, message_id=message_id
    )
    # Half of the versions equal their original in the first fields that decide between versions.
    equal_fields = draw(st.integers(0, 3))
    if equal_fields >= 2:
        corrected = replace(corrected, ingestion_timestamp=trade.ingestion_timestamp)
    if equal_fields == 3:
        corrected = replace(corrected, platform_sequence=trade.platform_sequence)
    return corrected


def with_defect(trade: Trade, defect: str) -> Trade:
    """Return the trade with one defect."""
    hour = partition_hour(trade)
    changed: dict[str, Trade] = {
        "symbol": replace(trade, symbol=None),
        "exchange": replace(trade, exchange=None),
        "timestamp": replace(trade, timestamp=None),
        "ids": replace(trade, trade_id=None, message_id=None),
        "price null": replace(trade, price=None),
        "price zero": replace(trade, price=Decimal("0E-8")),
        "price negative": replace(trade, price=-MIN_AMOUNT),
        "quantity null": replace(trade, quantity=None),
        "quantity zero": replace(trade, quantity=Decimal("0E-8")),
        "quantity negative": replace(trade, quantity=-MAX_AMOUNT),
        "one microsecond early": replace(trade, timestamp=hour * HOUR_MICROSECONDS - 1),
        "one microsecond late": replace(trade, timestamp=(hour + 1) * HOUR_MICROSECONDS),
        # Sums and differences of these exceed 64 bits.
        "first time": replace(trade, timestamp=-(2**63)),
        "last time": replace(trade, timestamp=2**63 - 1),
        "next partition": stored_in(trade, hour + 1),
        # A check of the hour alone would miss this one.
        "partition of the day before": stored_in(trade, hour - 24),
    }
    return changed[defect]


@st.composite
def invalid_trades(draw: st.DrawFn, trade: Trade) -> Trade:
    """Draw an invalid copy of a trade; two defects at once test which reason is counted."""
    for defect in draw(st.lists(st.sampled_from(DEFECTS), min_size=1, max_size=2)):
        trade = with_defect(trade, defect)
    return trade


@st.composite
def trade_lists(
    draw: st.DrawFn,
    hours: Sequence[int] = HOURS,
    symbols: Sequence[str] = SYMBOLS,
    exchanges: Sequence[str] = EXCHANGES,
    min_size: int = 0,
    max_size: int = MAX_TRADES,
    bad_rows: bool = True,
) -> list[Trade]:
    """Draw up to `max_size` trades in random order, with ties, versions, repeated deliveries and invalid rows."""
    if not 0 <= min_size <= max_size:
        raise ValueError("min_size must lie between 0 and max_size")
    # Each list uses few hours and offsets, so that windows contain several trades and timestamps are equal.
    few_hours = draw(_few(st.sampled_from(hours), 3))
    few_offsets = draw(_few(st.sampled_from(OFFSETS) | st.integers(0, HOUR_MICROSECONDS - 1), 4))
    max_originals = max(min_size, max_size * 3 // 5)
    # Without a drawn minimum most lists would be short.
    min_originals = draw(st.integers(min_size, max_originals))
    originals = valid_trades(few_hours, symbols, exchanges, few_offsets)
    trades = draw(st.lists(originals, min_size=min_originals, max_size=max_originals))
    if not trades:
        return []
    # What is added for a trade drawn above: a copy, another version, or an invalid one.
    kinds = ["copy", "version", "version", *(["invalid", "invalid version"] if bad_rows else [])]
    more = st.tuples(st.sampled_from(trades), st.sampled_from(kinds))
    for trade, kind in draw(st.lists(more, max_size=max_size - len(trades))):
        if "version" in kind:
            trade = draw(versions(trade))
        if "invalid" in kind:
            trade = draw(invalid_trades(trade))
        trades.append(trade)
    return draw(st.permutations(trades))


@st.composite
def range_lists(draw: st.DrawFn, window_us: int, hours: Sequence[int] = HOURS) -> list[tuple[int, int]]:
    """Draw one or two ranges of whole windows in and around those hours; they may touch or overlap."""
    first = min(hours) * HOUR_MICROSECONDS // window_us - 1
    last = -(-(max(hours) + 1) * HOUR_MICROSECONDS // window_us) + 1
    everything = (first * window_us, last * window_us)
    bounds = st.lists(st.integers(first, last), min_size=2, max_size=2, unique=True)
    part = bounds.map(lambda pair: (min(pair) * window_us, max(pair) * window_us))
    return draw(st.just([everything]) | st.lists(part, min_size=1, max_size=2))


def stored_in(trade: Trade, hour: int) -> Trade:
    """Return the trade, stored in the partition of the hour with this number."""
    days, exchange_hour = divmod(hour, 24)
    return replace(trade, exchange_date=EPOCH_DATE + timedelta(days=days), exchange_hour=exchange_hour)


def _amount(draw: st.DrawFn) -> Decimal:
    """Draw a price or quantity: mostly an edge case, else any value of decimal(18, 8)."""
    special = draw(_AMOUNTS_OR_NONE)
    return Decimal(f"{draw(_UNITS)}E-8") if special is None else special


def _few(values: st.SearchStrategy[int], most: int) -> st.SearchStrategy[list[int]]:
    return st.lists(values, min_size=1, max_size=most, unique=True)


def markets(count: int = 5, *, bad_rows: bool = True) -> st.SearchStrategy[list[list[Trade]]]:
    """Draw several lists of trades, each with exchanges of its own, so that one query tests all of them."""
    return st.lists(trade_lists(bad_rows=bad_rows), min_size=count, max_size=count).map(_with_own_exchanges)


def _with_own_exchanges(lists: list[list[Trade]]) -> list[list[Trade]]:
    return [
        [replace(each, exchange=each.exchange and f"{each.exchange} {number}") for each in trades]
        for number, trades in enumerate(lists)
    ]
