"""JSON documents of the API: their parts, and their schemas for the API documentation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, Field

from ohlcv.model.intervals import iso
from ohlcv.web.table_index import TableIndex

PROBLEM = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "example": "about:blank"},
        "title": {"type": "string", "example": "Bad Request"},
        "status": {"type": "integer", "example": 400},
        "detail": {"type": "string", "description": "One line that says what to do."},
    },
}
ERRORS = {
    400: "An invalid or unknown parameter.",
    401: "No valid token.",
    403: "No read access to the timeframe.",
    429: "Too many requests with this token. Retry-After says when to try again.",
    503: "The answer is not available in time: the catalog is not reachable, or the service is busy.",
}


def error_responses() -> dict[int | str, dict[str, Any]]:
    """Return the description of the error responses of every route."""
    return {
        status: {"description": text, "content": {"application/problem+json": {"schema": PROBLEM}}}
        for status, text in ERRORS.items()
    }


def candle_responses(bulk_types: Iterable[str]) -> dict[int | str, dict[str, Any]]:
    """Return the description of the responses of the candles route, except its errors."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    header = {"schema": {"type": "string"}}
    names = ("ETag", "X-Ohlcv-Snapshot", "X-Ohlcv-Committed-At")
    return {
        200: {
            "description": "A page of candles, or all candles of the range in another format.",
            "headers": dict.fromkeys(names, header),
            "content": {media_type.partition(";")[0]: binary for media_type in bulk_types},
        },
        304: {"description": "The client has this answer already (If-None-Match)."},
    }


def snapshot_document(index: TableIndex | None) -> dict[str, str] | None:
    """Return the snapshot of an index, or None for an empty table."""
    if index is None or index.snapshot_id is None or index.committed_at is None:
        return None
    return {"id": str(index.snapshot_id), "committed_at": iso(index.committed_at)}


def rounded(seconds: float | None) -> float | None:
    """Return seconds with one decimal place."""
    return None if seconds is None else round(seconds, 1)


Time = Field(examples=["2026-03-01T12:00:00Z"])
Amount = Field(examples=["84100.50000000"], description="Exact decimal.")


class Snapshot(BaseModel):
    """Snapshot of the candle table that an answer is from."""

    id: str = Field(examples=["5841283497593412345"])
    committed_at: str = Time


class Stale(BaseModel):
    """Part of each document."""

    stale_seconds: float | None = Field(
        None, description="Null, or the age of the answer while the catalog is not reachable."
    )


class Candle(BaseModel):
    """A candle. `filled` and `fill_reason` are present with fill=previous, the measures with measures=true.

    Measures are null in a candle that was not rebuilt since the table was extended, and in filled and provisional ones.
    """

    symbol: str = Field(examples=["BTC-USD"])
    exchange: str = Field(examples=["coinbase"])
    window_start: str = Time
    window_end: str = Time
    window_date: str = Field(examples=["2026-03-01"])
    open_price: str = Amount
    high_price: str = Amount
    low_price: str = Amount
    close_price: str = Amount
    volume: str = Amount
    trade_count: int = Field(examples=[1234])
    vwap: str | None = Amount
    created_at: str | None = Time
    updated_at: str | None = Time
    quote_volume: str | None = Field(None, examples=["630753.7500000000000000"], description="Exact decimal.")
    taker_buy_volume: str | None = Field(
        None, examples=["4.50000000"], description="Also null if a trade of the window has no side."
    )
    taker_buy_quote_volume: str | None = Field(None, examples=["378452.2500000000000000"])
    first_trade_at: str | None = Field(None, examples=["2026-03-01T12:00:00.123456Z"])
    last_trade_at: str | None = Field(None, examples=["2026-03-01T12:59:59.654321Z"])
    filled: bool | None = None
    fill_reason: str | None = Field(
        None,
        description="Why a filled window has no trades: no trades (others of the exchange have), no data (none of the "
        "exchange), or note. Null: stored, or not known.",
    )


class ProvisionalCandles(BaseModel):
    """Candles newer than the newest stored one, computed from trades."""

    trades_snapshot: str | None
    computed_at: str = Time
    candles: list[Candle]


class Past(BaseModel):
    """What an answer with as_of or vintage leaves out."""

    available_from: str | None = Field(description="Earlier windows are not known. Null if no window is left out.")
    known_until: str | None = Field(
        description="Of a vintage: what readers saw first at this time or later is left out."
    )


class CandlesDocument(Stale):
    """A page of candles."""

    timeframe: str = Field(examples=["1h"])
    snapshot: Snapshot | None
    candles: list[Candle]
    next_cursor: str | None = Field(description="Cursor of the next page; null on the last one.")
    provisional: ProvisionalCandles | None
    past: Past | None = Field(None, description="With as_of and vintage.")


class Change(BaseModel):
    """Why and by which publication a candle changed."""

    publication: int = Field(description="Number of the publication in the timeframe.", examples=[42])
    symbol: str = Field(examples=["BTC-USD"])
    exchange: str = Field(examples=["coinbase"])
    window_start: str = Time
    change: str | None = Field(
        description="inserted, updated or deleted; null for the candle with which the ledger began.",
        examples=["updated"],
    )
    causes: list[str] = Field(examples=[["trade added"]])
    lateness: int | None = Field(
        description="Newest ingestion time of the added trades minus the end of the window, in microseconds."
    )
    held_since: str | None = Field(description="Since when the audit had held the candle.")
    waived: bool = Field(description="Whether an operator published it although it failed the audit.")
    visible_at: str = Field(description="When readers began to see the change.", examples=["2026-03-01T12:00:00Z"])
    trigger: str = Field(examples=["scheduled"])
    dag_id: str | None
    run_id: str | None
    snapshot: str | None
    trades_snapshot: str | None


class Revision(Change):
    """A changed candle. Its values before and after are null where there was no candle."""

    before_close_price: str | None = Field(description="So all columns of a candle before the change.")
    after_close_price: str | None = Field(description="So all columns of a candle after the change.")


class RevisionsDocument(BaseModel):
    """A page of revisions."""

    timeframe: str = Field(examples=["1h"])
    checkpoint: int = Field(description="Newest recorded publication: `since` of the next poll.")
    revisions: list[Revision]
    next_cursor: str | None = Field(description="Cursor of the next page; null on the last one.")


class Version(Change):
    """A version of a candle. Its values are null from a deletion on."""

    close_price: str | None = Field(description="So all columns of a candle.")


class HistoryDocument(BaseModel):
    """The versions of a candle, the oldest first."""

    timeframe: str = Field(examples=["1h"])
    symbol: str = Field(examples=["BTC-USD"])
    exchange: str = Field(examples=["coinbase"])
    window_start: str = Time
    known_until: str | None = Field(description="Later publications are not recorded yet. Null if all are recorded.")
    versions: list[Version]


class TimeframeDocument(BaseModel):
    """A timeframe of the registry and its stored range."""

    name: str = Field(examples=["1h"])
    seconds: int = Field(examples=[3600])
    table: str = Field(examples=["gold_ohlcv_1h"])
    dag_id: str = Field(examples=["ohlcv_1h"])
    cron: str = Field(examples=["15 * * * *"])
    retention_days: int | None = Field(description="Null if the retention is in years.")
    retention: str = Field(examples=["3 years"])
    time_target_seconds: float = Field(examples=[60])
    measures: bool = Field(description="Whether the table is extended, so that its candles have measures.")
    snapshot: Snapshot | None
    first_window: str | None = Time
    newest_window: str | None = Time


class TimeframesDocument(Stale):
    """Timeframes that the client may read."""

    timeframes: list[TimeframeDocument]


class SeriesItem(BaseModel):
    """A series with its stored range."""

    symbol: str = Field(examples=["BTC-USD"])
    exchange: str = Field(examples=["coinbase"])
    first_window: str = Time
    newest_window: str = Time


class SeriesDocument(Stale):
    """Series of a timeframe, sorted by symbol and exchange."""

    timeframe: str = Field(examples=["1h"])
    snapshot: Snapshot | None
    series: list[SeriesItem]
    truncated: bool = Field(False, description="True if there are more series: use search.")


class AirflowState(BaseModel):
    """Whether the runs could be read."""

    reachable: bool
    detail: str | None


class StatusDocument(Stale):
    """State of the pipeline per timeframe."""

    airflow: AirflowState
    timeframes: list[dict[str, Any]] = Field(
        description="Per timeframe: newest window, lag, last run, runs of 24 hours, rejected and withheld counts, "
        "held series with the time and age of the oldest, rows, files, bytes, retention horizon, last maintenance and "
        "the last 100 durations."
    )


class QualityDocument(BaseModel):
    """Verdicts of the validations per timeframe."""

    airflow: AirflowState
    timeframes: list[dict[str, Any]] = Field(description="Per timeframe: up to 20 verdicts, the newest first.")


class SeriesHours(BaseModel):
    """The hours of a series: each list has one value per hour."""

    exchange: str = Field(examples=["coinbase"])
    symbol: str = Field(examples=["BTC-USD"])
    states: list[str | None] = Field(
        description="no gap, sequence gaps, silent, no data, source expired or unknown; null: not counted or expected.",
        examples=[["no gap", "silent"]],
    )
    trades: list[int | None] = Field(description="Accepted trades; null where the state is.")
    missing: list[int | None] = Field(description="Missing source sequences; null: not known.")
    rejected: list[int | None]
    duplicates: list[int | None]
    details: list[str | None] = Field(description="Why the hour has its state.")
    notes: list[list[str] | None] = Field(description="The notes that cover a part of the hour.")


class CoverageNote(BaseModel):
    """What a person knows of a series or of a whole exchange."""

    note: str = Field(examples=["4f1c2a9be0d7"])
    kind: str = Field(description="halt, outage, delisting or expected.", examples=["outage"])
    exchange: str = Field(examples=["coinbase"])
    symbol: str | None = Field(description="Null: all symbols of the exchange.")
    start_time: str = Time
    end_time: str | None = Field(description="Null: it has not ended.")
    author: str
    reason: str
    recorded_at: str = Time


class CoverageDocument(BaseModel):
    """A page of series with their hours."""

    start: str = Time
    end: str = Time
    counted_until: str | None = Field(description="Later hours are not counted yet. Null: none is.")
    trades_snapshot: str | None = Field(description="The snapshot of the trades that is counted.")
    pending_hours: int = Field(description="Hours of the range that are counted again soon.")
    hours: list[str] = Field(examples=[["2026-03-01T12:00:00Z"]])
    series: list[SeriesHours]
    notes: list[CoverageNote]
    next_cursor: str | None = Field(description="Cursor of the next page; null on the last one.")
