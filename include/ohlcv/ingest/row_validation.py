"""Row validation for trade files: SQL that casts a row, derives missing columns, or returns why the row is refused.

Amounts stay text until a pattern has shown that decimal(18,8) holds them exactly. No value is rounded or becomes a
float. DuckDB runs the query over one chunk of rows at a time (`loader.py`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime

from ohlcv.ingest.file_readers import LINE, PROBLEM
from ohlcv.ingest.formats import GENERIC, NESTED, TradeFormat
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import to_microseconds
from ohlcv.model.table_contracts import TRADE_COLUMNS

FIRST_TIME = to_microseconds(datetime(2009, 1, 1, tzinfo=UTC))  # Bitcoin's first block
LAST_TIME = to_microseconds(datetime(2100, 1, 1, tzinfo=UTC))
# Unicode categories of characters that an exchange or a symbol must not contain: control, format, surrogate, line and
# paragraph separator. They are invisible, so two different names would look the same.
INVISIBLE_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
INVISIBLE_REASON = "contains a control or invisible character"
# The default of the currency: the part of the symbol after the last '-' or '/'.
_SYMBOL_CURRENCY = "nullif(regexp_extract(symbol, '[-/]([^-/]+)$', 1), '')"


def checked_name(option: str, value: str | None) -> str | None:
    """Return the trimmed value of --exchange or --symbol; raise an error if a row with this value would be refused."""
    if value is None:
        return None
    name = value.strip()
    if not name:
        raise InputError(f"{option} is blank: give a name")
    if any(unicodedata.category(character) in INVISIBLE_CATEGORIES for character in name):
        raise InputError(f"{option} {INVISIBLE_REASON}: give the name without it")
    return name


def validation_query(
    source_format: TradeFormat, columns: Iterable[str], exchange: str | None, symbol: str | None
) -> str:
    """Return the query that maps the table `chunk` to the columns of the trades table, `line` and `reason`.

    A row with a reason is refused. Parameters: $exchange, $symbol and $now, the load time in microseconds.
    """
    columns = set(columns)

    def expression(name: str) -> str:
        if name in source_format.expressions:
            return source_format.expressions[name]
        if name == "raw_timestamp":
            name = "timestamp"
        return name if name in columns else "CAST(NULL AS VARCHAR)"

    raw_columns = ", ".join(
        # A Parquet file may have the partition columns as date and integer: all columns are compared as text.
        f"nullif(CAST({name} AS VARCHAR), '') AS {name}"
        for name in sorted(columns - {LINE, PROBLEM, *NESTED})
    )
    nested_columns = ", ".join(
        f"CAST({name if name in columns else 'NULL'} AS {kind}) AS {name}"
        for name, kind in zip(NESTED, ("VARCHAR[]", "MAP(VARCHAR, VARCHAR)"), strict=True)
    )
    mapped_columns = ", ".join(
        f"{expression(name)} AS {name}"
        for name in (*(column.name for column in TRADE_COLUMNS if column.name not in NESTED), "raw_timestamp")
        if name not in ("exchange", "symbol")
    )
    option_columns = [
        f"{expression(name)} AS {name}" if name in columns else f"CAST(${name} AS VARCHAR) AS {name}"
        for name in ("exchange", "symbol")
    ]
    conflicts = [
        f"WHEN {name} <> ${name} THEN '{name} ' || left({name}, 40) || ' differs from --{name} ' || ${name}"
        for name, option in (("exchange", exchange), ("symbol", symbol))
        if option is not None and name in columns
    ]
    message_id = f"coalesce(message_id, {_content_hash()})" if source_format.has_ids else "message_id"
    return f"""
        WITH raw AS (SELECT {LINE}, {PROBLEM}, {nested_columns}, {raw_columns} FROM chunk),
        mapped AS (
            SELECT {LINE}, coalesce({PROBLEM}, {source_format.problem}) AS {PROBLEM},
                {", ".join(NESTED)}, {mapped_columns}, {", ".join(option_columns)}
            FROM raw
        ),
        typed AS (
            SELECT * REPLACE (upper(side) AS side), {_integer("timestamp")} AS micros,
                TRY_CAST(price AS DECIMAL(18, 8)) AS exact_price, TRY_CAST(quantity AS DECIMAL(18, 8)) AS exact_quantity
            FROM mapped
        ),
        partitioned AS (
            SELECT *, DATE '1970-01-01' + CAST(micros // 86400000000 AS INTEGER) AS day,
                CAST(micros // 3600000000 % 24 AS INTEGER) AS hour
            FROM (SELECT * REPLACE (CASE WHEN micros BETWEEN {FIRST_TIME} AND {LAST_TIME} - 1 THEN micros END AS micros)
                FROM typed)
        ),
        validated AS (SELECT *, {_reason(source_format, conflicts)} AS reason FROM partitioned),
        completed AS (
            SELECT {LINE}, reason, message_id, trade_id, symbol, exchange,
                coalesce(asset_class, 'crypto') AS asset_class, micros AS timestamp,
                exact_price AS price, exact_quantity AS quantity,
                coalesce(currency, {_SYMBOL_CURRENCY}) AS currency,
                side, trade_conditions, TRY_CAST(source_sequence AS BIGINT) AS source_sequence,
                coalesce(TRY_CAST(ingestion_timestamp AS BIGINT), $now) AS ingestion_timestamp,
                TRY_CAST(platform_sequence AS BIGINT) AS platform_sequence, vendor_data,
                day AS exchange_date, hour AS exchange_hour
            FROM validated
        )
        SELECT * REPLACE ({message_id} AS message_id) FROM completed ORDER BY {LINE}
    """


def _integer(name: str) -> str:
    # A cast alone would round '1.5' and accept '1e3'.
    return f"CASE WHEN regexp_full_match({name}, '-?[0-9]+') THEN TRY_CAST({name} AS BIGINT) END"


def _reason(source_format: TradeFormat, conflicts: list[str]) -> str:
    """Return the SQL of the first reason why a row is refused, NULL for a valid row."""
    hints = " ".join(
        f"WHEN CAST(TRY_CAST(timestamp AS BIGINT) AS HUGEINT) * {up} // {down} BETWEEN {FIRST_TIME} AND {LAST_TIME} "
        f"THEN ' (it may be {unit})'"
        for unit, up, down in (("seconds", 10**6, 1), ("milliseconds", 1000, 1), ("nanoseconds", 1, 1000))
    )
    hint = f"CASE {hints} ELSE '' END" if source_format is GENERIC else "''"
    counters = " ".join(
        f"WHEN {name} IS NOT NULL AND {_integer(name)} IS NULL THEN '{name} ' || left({name}, 40) || "
        "' is not a whole number'"
        for name in ("source_sequence", "platform_sequence", "ingestion_timestamp")
        if name not in source_format.expressions
    )
    # A surrogate cannot occur: files are UTF-8.
    invisible = "[" + "".join(f"\\p{{{each}}}" for each in INVISIBLE_CATEGORIES if each != "Cs") + "]"
    ids = "WHEN trade_id IS NULL AND message_id IS NULL THEN 'trade_id is empty'" if source_format.has_ids else ""
    return f"""coalesce(
        {PROBLEM},
        CASE WHEN exchange IS NULL THEN 'exchange is empty'
            WHEN symbol IS NULL THEN 'symbol is empty'
            WHEN regexp_matches(exchange, '{invisible}') THEN 'exchange {INVISIBLE_REASON}'
            WHEN regexp_matches(symbol, '{invisible}') THEN 'symbol {INVISIBLE_REASON}'
            {" ".join(conflicts)}
            {ids}
            WHEN timestamp IS NULL THEN 'timestamp is empty'
            WHEN micros IS NULL AND NOT regexp_full_match(timestamp, '-?[0-9]+')
                THEN 'timestamp ' || left(raw_timestamp, 40) || ' is not {source_format.time_unit}'
            WHEN micros IS NULL THEN 'timestamp ' || left(raw_timestamp, 40) || ' is outside 2009 to 2100: '
                || 'expected {source_format.time_unit}' || {hint} END,
        {_amount_reason("price")},
        {_amount_reason("quantity")},
        CASE WHEN side NOT IN ('BUY', 'SELL') THEN 'side ' || left(side, 40) || ' is not BUY or SELL'
            {counters}
            WHEN ingestion_timestamp IS NOT NULL
                AND TRY_CAST(ingestion_timestamp AS BIGINT) NOT BETWEEN {FIRST_TIME} AND {LAST_TIME} - 1
                THEN 'ingestion_timestamp ' || left(ingestion_timestamp, 40) || ' is outside 2009 to 2100: '
                    || 'expected a whole number of microseconds'
            WHEN exchange_date <> CAST(day AS VARCHAR)
                THEN 'exchange_date ' || left(exchange_date, 40) || ' is not the timestamp''s UTC date, ' || day
            WHEN exchange_hour IS NOT NULL AND coalesce({_integer("exchange_hour")}, -1) <> hour
                THEN 'exchange_hour ' || left(exchange_hour, 40) || ' is not the timestamp''s UTC hour, ' || hour END
    )"""


def _amount_reason(name: str) -> str:
    value = f"'{name} ' || left({name}, 40)"
    number = "([0-9]+[.]?[0-9]*|[.][0-9]+)"
    return f"""CASE
        WHEN {name} IS NULL THEN '{name} is empty'
        WHEN regexp_full_match({name}, '0*[0-9]{{0,10}}([.][0-9]{{0,8}}0*)?') AND regexp_matches({name}, '[1-9]')
            AND exact_{name} IS NOT NULL THEN NULL
        WHEN regexp_full_match({name}, '[+-]?{number}[eE][+-]?[0-9]+')
            THEN {value} || ' is in scientific notation: write it as a plain decimal number'
        WHEN NOT regexp_full_match({name}, '-?{number}') THEN {value} || ' is not a decimal number'
        WHEN {name} LIKE '-%' OR NOT regexp_matches({name}, '[1-9]') THEN {value} || ' is not greater than zero'
        WHEN regexp_matches({name}, '[.][0-9]{{8}}[0-9]*[1-9]') THEN {value} || ' has more than 8 decimals'
        ELSE {value} || ' has more than 10 digits before the decimal point' END"""


def _content_hash() -> str:
    """Return the SQL of a message id derived from the content: equal for equal trades, different for a correction.

    All columns belong to the content except `ingestion_timestamp`, which may differ when a trade is delivered again.
    Optional columns are part of the text only if they differ from their default. Ids of stored rows depend on this
    text: rows without optional columns have had it since the first version.
    """
    parts = ["exchange", "symbol", "trade_id", "CAST(timestamp AS VARCHAR)"]
    parts += ["CAST(price AS VARCHAR)", "CAST(quantity AS VARCHAR)", "side"]
    optional = {
        "asset_class": "nullif(asset_class, 'crypto')",
        "currency": f"nullif(currency, {_SYMBOL_CURRENCY})",
        "platform_sequence": "CAST(platform_sequence AS VARCHAR)",
        "source_sequence": "CAST(source_sequence AS VARCHAR)",
        "trade_conditions": "CAST(to_json(trade_conditions) AS VARCHAR)",
        "vendor_data": "CAST(to_json(list_sort(map_entries(vendor_data))) AS VARCHAR)",
    }
    # Each part is prefixed with its length, so that different rows never produce the same text.
    texts = [f"coalesce(length({part}) || ':' || {part}, '-')" for part in parts]
    texts += [f"coalesce('{name} ' || length({value}) || ':' || {value}, '')" for name, value in optional.items()]
    return f"left(sha256(concat({', '.join(texts)})), 32)"
