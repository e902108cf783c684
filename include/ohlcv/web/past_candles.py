"""Answers from the ledger: candles of a past moment or vintage, revisions, and the history of a candle."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And, BooleanExpression

from ohlcv.config.settings import Settings
from ohlcv.iceberg.catalog_errors import described_catalog_errors
from ohlcv.model.intervals import iso
from ohlcv.model.timeframes import DAY, get_timeframe
from ohlcv.readers.candle_history import read_candle_history
from ohlcv.readers.candles import select_candles
from ohlcv.readers.point_in_time import PastCandles, open_past_candles
from ohlcv.readers.recorded_table import open_recorded_table
from ohlcv.readers.revisions import FeedKey, FeedQuery, read_feed
from ohlcv.readers.scans import partition_condition, series_condition, time_condition
from ohlcv.readers.texts import json_row
from ohlcv.web.bulk import MAX_ROWS, encode_stream
from ohlcv.web.candle_query import PageKey
from ohlcv.web.cursor import make_cursor
from ohlcv.web.encoding import json_objects
from ohlcv.web.parameters import DEFAULT_CANDLES, CandleParameters, HistoryParameters, RevisionParameters
from ohlcv.web.problems import bad_request

# Partitions that are read at a time.
_MAX_STEP = 8
_ORDER = [("window_start", "ascending"), ("symbol", "ascending"), ("exchange", "ascending")]


def past_page(settings: Settings, given: CandleParameters, selection: dict[str, Any], after: PageKey | None) -> bytes:
    """Return a page of the candles of a past moment or vintage as JSON."""
    with described_catalog_errors(settings):
        past = _open(settings, given)
        limit = given.newest or given.limit or DEFAULT_CANDLES
        found = [past.source.schema.empty_table()]
        rows = 0
        for table in _tables(past, given, after):
            found.append(table)
            rows += len(table)
            if rows > limit:
                break
        candles = pa.concat_tables(found)
        if not rows and after is None:
            past.recorded.check_series(given.symbol, given.exchange)
    page = candles.slice(0, _page_size(candles, limit))
    next_cursor = None
    if len(page) < rows:
        last = page.slice(len(page) - 1).to_pylist()[0]
        key = (last["window_start"], last["symbol"], last["exchange"])
        next_cursor = make_cursor(key, selection, past.snapshot)
    document = {
        "timeframe": given.timeframe,
        "snapshot": _snapshot(past),
        "stale_seconds": None,
        "past": {
            "available_from": None if past.available_from is None else iso(past.available_from),
            "known_until": None if past.known_until is None else iso(past.known_until),
        },
        "next_cursor": next_cursor,
        "provisional": None,
    }
    begin = json.dumps(document, separators=(",", ":"))[:-1].encode()
    return b"".join((begin, b',"candles":', json_objects(page), b"}"))


def past_download(settings: Settings, given: CandleParameters) -> tuple[dict[str, str], Generator[bytes]]:
    """Begin to read all candles of a past moment or vintage. Return the headers and the parts of the file."""
    with described_catalog_errors(settings):
        past = _open(settings, given)
        timeframe = get_timeframe(given.timeframe)
        windows = (31 if timeframe.partition == "month" else 1) * DAY // timeframe.length
        partitions = past.source.partitions(_condition(given))
        if given.newest is None and len(partitions) * windows > MAX_ROWS:
            raise bad_request(f"the range may have more than {MAX_ROWS:,} candles: narrow it by time")
        tables = _tables(past, given, None)
        first = next(tables, None)
        if first is None or not len(first):
            past.recorded.check_series(given.symbol, given.exchange)
    headers = {"X-Ohlcv-Snapshot": str(past.snapshot)} if past.snapshot is not None else {}
    headers["X-Ohlcv-Committed-At"] = iso(past.visible_at)
    batches = (batch for table in chain([first] if first is not None else [], tables) for batch in table.to_batches())
    return headers, encode_stream(given.format, past.source.schema, batches)


def _open(settings: Settings, given: CandleParameters) -> PastCandles:
    return open_past_candles(
        settings, get_timeframe(given.timeframe), given.start, given.end, as_of=given.as_of, vintage=given.vintage
    )


def _snapshot(past: PastCandles) -> dict[str, str] | None:
    if past.snapshot is None:
        return None
    return {"id": str(past.snapshot), "committed_at": iso(past.visible_at)}


def _condition(given: CandleParameters) -> BooleanExpression:
    return And(series_condition(given.symbol, given.exchange), time_condition(given.start, given.end))


def _tables(past: PastCandles, given: CandleParameters, after: PageKey | None) -> Iterator[pa.Table]:
    """Yield the candles after a key in order, those of some partitions at a time."""
    timeframe = get_timeframe(given.timeframe)
    if given.newest is not None:
        found = select_candles(
            past.source, timeframe, given.symbol, given.exchange, given.start, given.end, given.newest
        )
        ordered = found.sort_by(_ORDER)
        yield ordered.slice(max(0, len(ordered) - given.newest))
        return
    start = given.start if after is None else after[0]
    condition = And(series_condition(given.symbol, given.exchange), time_condition(start, given.end))
    partitions = sorted(past.source.partitions(condition))
    step = 1
    while partitions:
        batch, partitions = partitions[:step], partitions[step:]
        rows = past.source.rows(And(condition, partition_condition(timeframe, batch))).sort_by(_ORDER)
        if after is not None:
            # Of one series, so that only the window decides.
            rows = rows.filter(pc.field("window_start") > after[0])
        yield rows
        step = min(2 * step, _MAX_STEP)


def _page_size(candles: pa.Table, limit: int) -> int:
    """Return the number of rows of a page: the limit, and rows with the key of the last one."""
    starts = candles["window_start"]
    size = min(limit, len(candles))
    while 0 < size < len(candles) and starts[size].as_py() == starts[size - 1].as_py():
        size += 1
    return size


def revisions_page(settings: Settings, given: RevisionParameters, key: FeedKey | None) -> tuple[bytes, FeedKey | None]:
    """Return the members of a page of revisions as JSON without the closing brace, and the key of the next page."""
    query = FeedQuery(
        given.since,
        given.symbol,
        given.exchange,
        given.start,
        given.end,
        given.cause,
        insertions=given.insertions == "true",
    )
    with described_catalog_errors(settings):
        recorded = open_recorded_table(settings, get_timeframe(given.timeframe))
        page = read_feed(recorded, query, given.limit or DEFAULT_CANDLES, key)
    document = {
        "timeframe": given.timeframe,
        "checkpoint": page.checkpoint,
        "revisions": [json_row(row) for row in page.table.to_pylist()],
    }
    return json.dumps(document, separators=(",", ":"))[:-1].encode(), page.next_key


def history_document(settings: Settings, given: HistoryParameters) -> dict[str, Any]:
    """Return the versions of a candle."""
    with described_catalog_errors(settings):
        found = read_candle_history(settings, get_timeframe(given.timeframe), given.symbol, given.exchange, given.time)
    return {
        "timeframe": given.timeframe,
        "symbol": given.symbol,
        "exchange": given.exchange,
        "window_start": iso(found.window_start),
        "known_until": None if found.known_until is None else iso(found.known_until),
        "versions": [json_row(row) for row in found.versions.to_pylist()],
    }
