"""The judgement every row of a trade file passes: the SQL that types it, derives what is missing, or says why not.

Amounts stay text until a pattern has shown that decimal(18,8) holds them exactly; nothing is rounded, nothing is a
float. DuckDB runs the statement over one chunk of rows at a time (`loading.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from ohlcv.ingest.file_readers import LINE, PROBLEM
from ohlcv.ingest.formats import GENERIC, NESTED, TradeFormat
from ohlcv.model.intervals import to_microseconds
from ohlcv.model.table_contracts import TRADES

FIRST_TIME = to_microseconds(datetime(2009, 1, 1, tzinfo=UTC))  # Bitcoin's first block
LAST_TIME = to_microseconds(datetime(2100, 1, 1, tzinfo=UTC))


def judge_statement(of: TradeFormat, columns: Iterable[str], exchange: str | None, symbol: str | None) -> str:
    """Give the SELECT that turns the table `chunk` into the contract's columns, `line` and `reason`.

    A row with a reason is refused. Parameters: $exchange, $symbol and $now, the load time in microseconds.
    """
    columns = set(columns)

    def text(name: str) -> str:
        if name in of.mapped:
            return of.mapped[name]
        if name == "given_time":
            name = "timestamp"
        return name if name in columns else "CAST(NULL AS VARCHAR)"

    given = ", ".join(
        # Partition columns may come from the table itself as a date and a number; text compares them all.
        f"nullif(CAST({name} AS VARCHAR), '') AS {name}"
        for name in sorted(columns - {LINE, PROBLEM, *NESTED})
    )
    nested = ", ".join(
        f"CAST({name if name in columns else 'NULL'} AS {kind}) AS {name}"
        for name, kind in zip(NESTED, ("VARCHAR[]", "MAP(VARCHAR, VARCHAR)"), strict=True)
    )
    plain = ", ".join(
        f"{text(name)} AS {name}"
        for name in (*(name for name in TRADES.column_names if name not in NESTED), "given_time")
        if name not in ("exchange", "symbol")
    )
    options = [
        f"{text(name)} AS {name}" if name in columns else f"CAST(${name} AS VARCHAR) AS {name}"
        for name in ("exchange", "symbol")
    ]
    contradictions = [
        f"WHEN {name} <> ${name} THEN '{name} ' || left({name}, 40) || ' is not ' || ${name} || ', as --{name} says'"
        for name, option in (("exchange", exchange), ("symbol", symbol))
        if option is not None and name in columns
    ]
    ties, tie_join = "", ""
    if of.numbers_ties:
        # Rows of one time are numbered through the whole file; `seen` holds how many earlier chunks had.
        ties = ", coalesce(seen.trades, 0) + row_number() OVER (PARTITION BY timestamp_key ORDER BY line) AS tie"
        tie_join = " LEFT JOIN seen USING (timestamp_key)"
    return f"""
        WITH given AS (SELECT {LINE}, {PROBLEM}, {nested}, {given} FROM chunk),
        keyed AS (SELECT *, {text("timestamp")} AS timestamp_key FROM given),
        numbered AS (SELECT keyed.*{ties} FROM keyed{tie_join}),
        mapped AS (
            SELECT {LINE}, timestamp_key, coalesce({PROBLEM}, {of.problem}) AS {PROBLEM}, {", ".join(NESTED)},
                {plain}, {", ".join(options)}
            FROM numbered
        ),
        typed AS (
            SELECT * REPLACE (upper(side) AS side), {_integer("timestamp")} AS micros,
                TRY_CAST(price AS DECIMAL(18, 8)) AS exact_price, TRY_CAST(quantity AS DECIMAL(18, 8)) AS exact_quantity
            FROM mapped
        ),
        placed AS (
            SELECT *, DATE '1970-01-01' + CAST(micros // 86400000000 AS INTEGER) AS day,
                CAST(micros // 3600000000 % 24 AS INTEGER) AS hour
            FROM (SELECT * REPLACE (CASE WHEN micros BETWEEN {FIRST_TIME} AND {LAST_TIME} - 1 THEN micros END AS micros)
                FROM typed)
        ),
        judged AS (SELECT *, {_reason(of, contradictions)} AS reason FROM placed)
        SELECT {LINE}, reason, timestamp_key,
            coalesce(message_id, {_content_hash(of)}) AS message_id,
            trade_id, symbol, exchange, coalesce(asset_class, 'crypto') AS asset_class, micros AS timestamp,
            exact_price AS price, exact_quantity AS quantity,
            coalesce(currency, nullif(regexp_extract(symbol, '[-/]([^-/]+)$', 1), '')) AS currency,
            side, trade_conditions, TRY_CAST(source_sequence AS BIGINT) AS source_sequence,
            coalesce(TRY_CAST(ingestion_timestamp AS BIGINT), $now) AS ingestion_timestamp,
            TRY_CAST(platform_sequence AS BIGINT) AS platform_sequence, vendor_data,
            day AS exchange_date, hour AS exchange_hour
        FROM judged ORDER BY {LINE}
    """


def _integer(name: str) -> str:
    # A cast alone would round '1.5' and read '1e3'.
    return f"CASE WHEN regexp_full_match({name}, '-?[0-9]+') THEN TRY_CAST({name} AS BIGINT) END"


def _reason(of: TradeFormat, contradictions: list[str]) -> str:
    """Give the SQL of the first thing wrong with a row, NULL where it is good."""
    hints = " ".join(
        f"WHEN CAST(TRY_CAST(timestamp AS BIGINT) AS HUGEINT) * {up} // {down} BETWEEN {FIRST_TIME} AND {LAST_TIME} "
        f"THEN '; it looks like {unit}'"
        for unit, up, down in (("seconds", 10**6, 1), ("milliseconds", 1000, 1), ("nanoseconds", 1, 1000))
    )
    hint = f"CASE {hints} ELSE '' END" if of is GENERIC else "''"
    counters = " ".join(
        f"WHEN {name} IS NOT NULL AND {_integer(name)} IS NULL THEN '{name} ' || left({name}, 40) || "
        "' is not a whole number'"
        for name in ("source_sequence", "platform_sequence", "ingestion_timestamp")
        if name not in of.mapped
    )
    ids = "" if of.numbers_ties else "WHEN trade_id IS NULL AND message_id IS NULL THEN 'trade_id is empty'"
    return f"""coalesce(
        {PROBLEM},
        CASE WHEN exchange IS NULL THEN 'exchange is empty'
            WHEN symbol IS NULL THEN 'symbol is empty'
            {" ".join(contradictions)}
            {ids}
            WHEN timestamp IS NULL THEN 'timestamp is empty'
            WHEN micros IS NULL AND NOT regexp_full_match(timestamp, '-?[0-9]+')
                THEN 'timestamp ' || left(given_time, 40) || ' is not {of.time_unit}'
            WHEN micros IS NULL THEN 'timestamp ' || left(given_time, 40) || ' lies outside 2009 to 2100: '
                || '{of.time_unit} is wanted' || {hint} END,
        {_amount_reason("price")},
        {_amount_reason("quantity")},
        CASE WHEN side NOT IN ('BUY', 'SELL') THEN 'side ' || left(side, 40) || ' is neither BUY nor SELL'
            {counters}
            WHEN ingestion_timestamp IS NOT NULL
                AND TRY_CAST(ingestion_timestamp AS BIGINT) NOT BETWEEN {FIRST_TIME} AND {LAST_TIME} - 1
                THEN 'ingestion_timestamp ' || left(ingestion_timestamp, 40) || ' lies outside 2009 to 2100: '
                    || 'a whole number of microseconds is wanted'
            WHEN exchange_date <> CAST(day AS VARCHAR)
                THEN 'exchange_date ' || left(exchange_date, 40) || ' is not the timestamp''s UTC date, ' || day
            WHEN exchange_hour IS NOT NULL AND coalesce({_integer("exchange_hour")}, -1) <> hour
                THEN 'exchange_hour ' || left(exchange_hour, 40) || ' is not the timestamp''s UTC hour, ' || hour END
    )"""


def _amount_reason(name: str) -> str:
    shown = f"'{name} ' || left({name}, 40)"
    number = "([0-9]+[.]?[0-9]*|[.][0-9]+)"
    return f"""CASE
        WHEN {name} IS NULL THEN '{name} is empty'
        WHEN regexp_full_match({name}, '0*[0-9]{{0,10}}([.][0-9]{{0,8}}0*)?') AND regexp_matches({name}, '[1-9]')
            AND exact_{name} IS NOT NULL THEN NULL
        WHEN regexp_full_match({name}, '[+-]?{number}[eE][+-]?[0-9]+')
            THEN {shown} || ' is in scientific notation: write out its digits'
        WHEN NOT regexp_full_match({name}, '-?{number}') THEN {shown} || ' is not a decimal number'
        WHEN {name} LIKE '-%' OR NOT regexp_matches({name}, '[1-9]') THEN {shown} || ' is not above zero'
        WHEN regexp_matches({name}, '[.][0-9]{{8}}[0-9]*[1-9]') THEN {shown} || ' has more than 8 decimals'
        ELSE {shown} || ' has more than 10 digits before the point' END"""


def _content_hash(of: TradeFormat) -> str:
    """Give the SQL of a message id by content: the same trade has the same one, a correction has another.

    Each part is written with its length before it, so that no two different rows spell the same text.
    """
    parts = ["exchange", "symbol", "trade_id", "CAST(micros AS VARCHAR)"]
    parts += ["CAST(exact_price AS VARCHAR)", "CAST(exact_quantity AS VARCHAR)", "side"]
    if of.numbers_ties:
        parts.append("source_sequence")
    spelt = ", ".join(f"coalesce(length({part}) || ':' || {part}, '-')" for part in parts)
    return f"left(sha256(concat({spelt})), 32)"
