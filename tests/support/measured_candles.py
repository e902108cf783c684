"""Candles with measures in extended tables, published as a run does."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import extend, open_catalog
from ohlcv.model import summary_keys
from ohlcv.model.intervals import iso
from ohlcv.model.source_checkpoint import SourceCheckpoint
from ohlcv.model.table_contracts import MEASURES
from ohlcv.model.timeframes import Timeframe, get_timeframe
from ohlcv.quality.audit import AuditResult
from ohlcv.quality.report import ValidationResult
from ohlcv.readers.trades import TradesTable, load_trades
from support.audited_tables import add_trades, built, publish, trade
from support.candle_rows import MINUTE, Row, at
from support.default_tables import candles_contract

FIVE_MINUTES = get_timeframe("5m")
NOON, ONE = at("2026-03-01T12:00"), at("2026-03-01T13:00")
INCOMPLETE = "all measures, none, or all but those of the taker"


def source(settings: Settings) -> TradesTable:
    return load_trades(open_catalog(settings), settings.trades_contract)


def measured(timeframe: Timeframe, start: str, symbol: str = "BTC", **values: Any) -> Row:
    """Return the candle of a window with one buy of quantity 2 at a price of 1."""
    time = at(start)
    return built(timeframe, start, symbol=symbol) | {
        "quote_volume": Decimal(2),
        "taker_buy_volume": Decimal(2),
        "taker_buy_quote_volume": Decimal(2),
        "first_trade_at": time,
        "last_trade_at": time,
        **values,
    }


WITHOUT = dict.fromkeys(MEASURES)


def extend_and_load(settings: Settings) -> None:
    """Extend the tables of 1m and 5m, and load two buys."""
    for timeframe in (MINUTE, FIVE_MINUTES):
        extend(settings, candles_contract(timeframe))
    add_trades(settings, *(trade("2026-03-01T12:00", symbol=symbol) | {"side": "BUY"} for symbol in ("BTC", "ETH")))


def publish_as_run(settings: Settings, timeframe: Timeframe, *rows: Row, **summary: str) -> None:
    """Publish the candles of a build of the range."""
    snapshot = source(settings).table.current_snapshot()
    assert snapshot is not None
    checkpoint = SourceCheckpoint(trades_snapshot=snapshot.snapshot_id, committed_at=0, built_since=0)
    built_by = {
        summary_keys.TRADES_SNAPSHOT: str(snapshot.snapshot_id),
        summary_keys.CHECKPOINT: checkpoint.to_text(),
        summary_keys.RUN_ID: "a run",
        summary_keys.RANGE_START: iso(NOON),
        summary_keys.RANGE_END: iso(ONE),
        summary_keys.CANDLES_WITHHELD: "0",
    }
    publish(settings, timeframe, rows, built_by | summary)


def found(result: ValidationResult | AuditResult) -> list[tuple[str, str, str, str]]:
    return [(each.rule, each.symbol, each.stored, each.expected) for each in result.findings]
