"""Candles and revisions for Python programs and notebooks, available as `ohlcv.candles` and so on."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import parse_time

# pyarrow, pyiceberg and DuckDB take seconds to import. Functions import them when needed.
if TYPE_CHECKING:
    import pyarrow as pa

    from ohlcv.readers.candles import Fill


def candles(
    timeframe: str,
    symbol: str | None = None,
    exchange: str | None = None,
    *,
    start: datetime | date | str | None = None,
    end: datetime | date | str | None = None,
    newest: int | None = None,
    fill: Fill | None = None,
    as_of: datetime | date | str | None = None,
    as_of_snapshot: int | None = None,
    vintage: str | timedelta | None = None,
    measures: bool = False,
    settings: Settings | None = None,
) -> pa.Table:
    """Return the candles with start <= window_start < end, sorted by symbol, exchange and window_start.

    `start` and `end` are a datetime with a time zone, a date (its midnight in UTC), or an ISO time as on the command
    line (UTC if it has no time zone). `newest` limits the result to the newest windows of each series. Without `start`,
    `newest` finds only series with a candle in the newest 31 partitions (days, or months for 1d).

    `fill="previous"` adds windows without trades at the previous close, with volume 0 and no vwap, and the columns
    `filled` and `fill_reason` (no trades, no data, note; null if the coverage does not tell). The columns are those of
    docs/data-contract.md, with exact decimals and times in UTC. A result without candles has the same columns and no
    rows.

    `measures` adds the columns quote_volume, taker_buy_volume, taker_buy_quote_volume, first_trade_at and last_trade_at
    of an extended table: null in candles that were not rebuilt since the extension, and in filled windows.

    `as_of` returns the candles that readers saw at a time, `as_of_snapshot` those of a published snapshot. `vintage` is
    `"first"`, each candle as first published, or a time such as `"5m"`: as known 5 minutes after its window ended. They
    exclude each other, `fill` and `measures`. The metadata of the schema says which snapshot was read
    (`ohlcv.snapshot`), before which window nothing is known (`ohlcv.available_from`), and from when on nothing is
    recorded (`ohlcv.known_until`).

    The environment variables `OHLCV_…` name catalog and warehouse unless `settings` are given. An invalid request
    raises ohlcv.InputError; any other problem that the caller can fix raises its base class ohlcv.OhlcvError.

    >>> import ohlcv
    >>> ohlcv.candles("1h", "BTC-USD", "coinbase", start="2026-03-01", end="2026-03-02", fill="previous").to_pandas()
    """
    settings = settings or load_settings()
    chosen = settings.timeframe(timeframe)
    first, last = _utc_time("start", start), _utc_time("end", end)
    if as_of is None and as_of_snapshot is None and vintage is None:
        from ohlcv.readers.candles import read_candles

        return read_candles(
            settings, chosen, symbol, exchange, start=first, end=last, newest=newest, fill=fill, measures=measures
        )
    for name, is_given in (("fill", fill is not None), ("measures", measures)):
        if is_given:
            raise InputError(f"as_of, as_of_snapshot and vintage cannot be combined with {name}: remove one of them")
    from ohlcv.readers.point_in_time import read_past_candles

    return read_past_candles(
        settings,
        chosen,
        symbol,
        exchange,
        start=first,
        end=last,
        newest=newest,
        as_of=_utc_time("as_of", as_of),
        as_of_snapshot=as_of_snapshot,
        vintage=vintage,
    )


def revisions(
    timeframe: str,
    symbol: str | None = None,
    exchange: str | None = None,
    *,
    start: datetime | date | str | None = None,
    end: datetime | date | str | None = None,
    since: int | None = None,
    cause: str | None = None,
    insertions: bool = False,
    limit: int | None = None,
    settings: Settings | None = None,
) -> pa.Table:
    """Return the candles that publications changed or deleted, in the order of the publications.

    `since` is the number of a publication: only later ones are read. `insertions` adds new candles, so that a copy of
    the candles can be updated by their keys. `limit` ends after the publication with so many revisions. The metadata
    `ohlcv.since` of the schema is the number with which the next call continues.

    >>> import ohlcv
    >>> changed = ohlcv.revisions("1h", "BTC-USD", "coinbase", cause="trade added")
    >>> later = ohlcv.revisions("1h", "BTC-USD", "coinbase", since=int(changed.schema.metadata[b"ohlcv.since"]))
    """
    from ohlcv.readers.revisions import SINCE, FeedQuery, read_revisions

    first, last = _utc_time("start", start), _utc_time("end", end)
    query = FeedQuery(since, symbol, exchange, first, last, cause, insertions)
    settings = settings or load_settings()
    found, number = read_revisions(settings, settings.timeframe(timeframe), query, limit)
    return found.replace_schema_metadata({SINCE: str(number)})


def trade_coverage(
    symbol: str | None = None,
    exchange: str | None = None,
    *,
    start: datetime | date | str | None = None,
    end: datetime | date | str | None = None,
    by: Literal["series", "hour"] = "hour",
    settings: Settings | None = None,
) -> pa.Table:
    """Return how complete the trades of each series are in the hours of a range, by default the last counted day.

    Each hour has a state (no gap, sequence gaps, silent, no data, source expired, unknown), why it has it, the number
    of missing source sequences, the facts of which it was derived, and the ids of its notes (docs/coverage.md).
    `by="series"` returns the number of hours in each state, and sums. A range has at most 31 days.

    >>> import ohlcv
    >>> hours = ohlcv.trade_coverage("BTC-USD", "coinbase", start="2026-03-01", end="2026-03-02")
    >>> hours.filter(pc.field("state") == "sequence gaps").select(["hour", "missing", "detail"])
    """
    from ohlcv.readers.coverage import MAX_RANGE, read_coverage
    from ohlcv.readers.coverage_tables import coverage_table

    first, last = _utc_time("start", start), _utc_time("end", end)
    found = read_coverage(settings or load_settings(), first, last, exchange, symbol, max_range=MAX_RANGE)
    return coverage_table(found, by)


def series(timeframe: str, *, settings: Settings | None = None) -> list[tuple[str, str]]:
    """Return each (symbol, exchange) with a candle in the newest 31 partitions (days, or months for 1d), sorted.

    >>> import ohlcv
    >>> ohlcv.series("1h")
    [('BTC-USD', 'coinbase'), ('ETH-USD', 'coinbase')]
    """
    from ohlcv.readers.latest import recent_series

    settings = settings or load_settings()
    return recent_series(settings, settings.timeframe(timeframe))


def timeframes(*, settings: Settings | None = None) -> list[str]:
    """Return the names of the enabled timeframes, the shortest first.

    >>> import ohlcv
    >>> ohlcv.timeframes()
    ['1m', '5m', '30m', '1h', '1d']
    """
    return list((settings or load_settings()).timeframes)


def _utc_time(name: str, value: datetime | date | str | None) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, (str, date)):
        raise InputError(f"{name} must be a datetime, a date or an ISO time, not {type(value).__name__}")
    # As text, so that subclasses such as pandas.Timestamp become a plain datetime.
    time, without_zone = parse_time(value if isinstance(value, str) else value.isoformat())
    if without_zone and isinstance(value, datetime):
        raise InputError(f"{name} {value} has no time zone: use a datetime with tzinfo, such as datetime.UTC")
    return time
