"""Columns of the tables of coverage and reconciliation."""

from __future__ import annotations

from ohlcv.model.columns import Column
from ohlcv.model.trade_validity import ROW_REJECTIONS

# Columns with the deliveries of an hour that were rejected, in the order of the reasons.
REJECTED_COLUMNS = tuple(f"rejected_{reason}" for reason in ROW_REJECTIONS)
# What an hour of a series contains: one row per exchange, symbol and hour with trades. Rejected trades without an
# exchange or symbol are counted under an empty one.
COVERAGE_COLUMNS = (
    Column("exchange", "string"),
    Column("symbol", "string"),
    Column("hour", "timestamptz"),
    # The trades snapshot in which this row was found first.
    Column("trades_snapshot", "long"),
    # Rows of the trades table: accepted + duplicates + superseded + rejected.
    Column("deliveries", "long"),
    # The latest version of each valid trade, so it is also the number of different trades.
    Column("accepted", "long"),
    # Other versions of an accepted trade, with equal and with other values.
    Column("duplicates", "long"),
    Column("superseded", "long"),
    *(Column(name, "long") for name in REJECTED_COLUMNS),
    # Of the accepted trades.
    Column("first_trade", "timestamptz"),
    Column("last_trade", "timestamptz"),
    # Lowest, highest and number of different source sequences of the valid deliveries.
    Column("lowest_sequence", "long"),
    Column("highest_sequence", "long"),
    Column("sequences", "long"),
    # Bit n is set if minute n has an accepted trade.
    Column("minutes", "long"),
    # Number of accepted trades by arrival delay (coverage_records.DELAY_BOUNDS): of their first valid delivery.
    Column("delays", "list<long>"),
    # The hour has no trades any more, and the row is that of before.
    Column("source_expired", "boolean"),
)
COVERAGE_KEY = ("exchange", "symbol", "hour")
NOTE_COLUMNS = (
    Column("note", "string"),
    # halt, outage, delisting or expected (coverage_records.NoteKind).
    Column("kind", "string"),
    Column("exchange", "string"),
    # Null: every symbol of the exchange.
    Column("symbol", "string"),
    Column("start_time", "timestamptz"),
    # Null: has not ended.
    Column("end_time", "timestamptz"),
    Column("author", "string"),
    Column("reason", "string"),
    Column("recorded_at", "timestamptz"),
    # Null unless the note was withdrawn.
    Column("withdrawn_at", "timestamptz"),
    Column("withdrawn_by", "string"),
)
# The latest comparison of each window with a published candle.
RECONCILIATION_COLUMNS = (
    # Who published the candle.
    Column("venue", "string"),
    Column("symbol", "string"),
    Column("exchange", "string"),
    Column("timeframe", "string"),
    Column("window_start", "timestamptz"),
    # equal, different, explained, only ours or only theirs.
    Column("result", "string"),
    # Names of the different fields.
    Column("fields", "list<string>"),
    # JSON: field, ours, theirs, difference, convention.
    Column("differences", "string"),
    Column("evidence", "list<string>"),
    Column("file", "string"),
    Column("compared_at", "timestamptz"),
    Column("candles_snapshot", "long"),
)
RECONCILIATION_KEY = ("venue", "symbol", "exchange", "timeframe", "window_start")
