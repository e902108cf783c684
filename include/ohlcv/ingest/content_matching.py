"""Content matching: finds the new trades of files whose rows have no trade id.

The rows of such a file are a multiset of trades. Equal trades have no difference, so their number is compared: if a
file has three trades with the same content and the table has two of them, one is new. The row order does not matter.

A file can be cut between trades of one time only at its first and at its last time, its edges. Trades loaded from an
edge record it in `vendor_data`, because the table may then have only a part of the trades of that time. If one file
ends and another begins at the same time and both have an equal trade, it may be the same trade or one more. Such a load
is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyiceberg.table import Table

from ohlcv.ingest.staging import COLUMNS, HOUR, StagingDatabase, count_staged, read_stored
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import from_microseconds, iso

# Key in `vendor_data` for the edge that a trade was loaded from: first, last, or only if the file has only one time.
EDGE_KEY = "file_edge"

_INSTANT = ("exchange", "symbol", "timestamp")
_CONTENT = (*_INSTANT, "price", "quantity", "side")
_KNOWN = ", ".join((*_CONTENT, "source_sequence", "edge"))


def stage_file_rows(staging: StagingDatabase, file: int) -> None:
    """Keep the valid rows of the table `validated` as rows of a file, until `stage_new_trades`."""
    staging.execute(f"INSERT INTO file_rows SELECT {file}, line, {HOUR}, {COLUMNS} FROM validated WHERE reason IS NULL")


def stage_new_trades(staging: StagingDatabase, table: Table, files: Sequence[str]) -> int:
    """Stage the trades of the files that the table does not have, and return the number of the other rows."""
    staging.execute("DELETE FROM staged")
    staging.execute("DELETE FROM known")
    [(rows,)] = staging.execute("SELECT count(*) FROM file_rows").fetchall()
    if rows and table.current_snapshot() is not None:
        _read_known(staging, table)
    for number, file in enumerate(files):
        match_file(staging, number, file)
    return int(rows) - count_staged(staging)


def _read_known(staging: StagingDatabase, table: Table) -> None:
    """Read the stored trades without a trade id that belong to the series and hours of the file rows."""
    columns = ("message_id", "trade_id", *_CONTENT, "source_sequence", "vendor_data", "exchange_date", "exchange_hour")
    staging.execute("CREATE OR REPLACE TEMP TABLE series AS SELECT DISTINCT exchange, symbol FROM file_rows")
    insert = (
        f"INSERT INTO known SELECT {', '.join(_CONTENT)}, source_sequence, vendor_data['{EDGE_KEY}'] "
        "FROM batch SEMI JOIN series USING (exchange, symbol) WHERE trade_id IS NULL AND message_id IS NOT NULL"
    )
    read_stored(staging, table, "file_rows", columns, insert)


def match_file(staging: StagingDatabase, number: int, file: str) -> None:
    """Stage the trades of one file that the table `known` does not have, and add them to it."""
    _raise_if_ambiguous(staging, number, file)
    staging.execute(f"CREATE OR REPLACE TEMP TABLE new_trades AS {_new_trades(number)}")
    staging.execute(f"INSERT INTO staged SELECT hour, {COLUMNS} FROM new_trades ORDER BY line")
    staging.execute(f"INSERT INTO known SELECT {_KNOWN} FROM new_trades")


def _file_with_edges(number: int) -> str:
    """Return the SQL of a file's rows with their edge. The order of rows does not matter."""
    return f"""
        SELECT file_rows.*, CASE WHEN first_time = last_time THEN 'only' WHEN timestamp = first_time THEN 'first'
            WHEN timestamp = last_time THEN 'last' END AS edge
        FROM file_rows,
            (SELECT min(timestamp) AS first_time, max(timestamp) AS last_time FROM file_rows WHERE file = {number})
        WHERE file = {number}"""


# The number of known trades of each content, by edge.
_KNOWN_CONTENTS = f"""
    SELECT {", ".join(_CONTENT)}, count(*) AS trades, count_if(edge = 'first') AS first_trades,
        count_if(edge = 'last') AS last_trades, count_if(edge = 'only') AS only_trades
    FROM known GROUP BY ALL"""

# A trade without an edge comes from within a file, or from an earlier version: all trades of its time are known.
_KNOWN_INSTANTS = f"""
    SELECT {", ".join(_INSTANT)}, min(source_sequence) AS lowest, max(source_sequence) AS highest,
        coalesce(bool_or(edge = 'first'), false) AS has_first, coalesce(bool_or(edge = 'last'), false) AS has_last,
        bool_or(edge IS NULL) AS complete
    FROM known GROUP BY ALL"""


def _same(left: str, right: str, columns: Sequence[str] = _CONTENT) -> str:
    return " AND ".join(f"{left}.{name} IS NOT DISTINCT FROM {right}.{name}" for name in columns)


def _new_trades(number: int) -> str:
    """Return the SQL of the trades of a file that are not known, with message id and source sequence.

    Of n equal trades in the file, s are known: f from the beginning of another file, the others from before. They
    are the last f and the first s - f of the n, so that the new ones have the ranks s + 1 to n if f is added to their
    position. The rank makes the message id unique.
    """
    content, instant = ", ".join(_CONTENT), ", ".join(f"ranked.{name}" for name in _INSTANT)
    return f"""
        WITH file AS ({_file_with_edges(number)}),
        counted AS (
            SELECT *, row_number() OVER (PARTITION BY {content} ORDER BY line) AS position,
                count(*) OVER (PARTITION BY {content}) AS equal_trades
            FROM file
        ),
        ranked AS (
            SELECT counted.*, position + coalesce(stored.first_trades, 0) AS rank
            FROM counted LEFT JOIN ({_KNOWN_CONTENTS}) AS stored ON {_same("counted", "stored")}
            WHERE rank > coalesce(stored.trades, 0) AND rank <= equal_trades
        ),
        placed AS (
            SELECT ranked.*, lowest, highest, row_number() OVER (PARTITION BY {instant} ORDER BY line) AS place,
                count(*) OVER (PARTITION BY {instant}) AS new_in_instant,
                -- What is known is the end of this time, so the new trades are before it.
                NOT complete AND NOT has_last AND (has_first OR edge = 'last') AS is_before
            FROM ranked LEFT JOIN ({_KNOWN_INSTANTS}) AS instants ON {_same("ranked", "instants", _INSTANT)}
        )
        SELECT * REPLACE (
            {_message_id()} AS message_id,
            CASE WHEN is_before THEN coalesce(lowest, 1) - 1 - new_in_instant + place
                ELSE coalesce(highest, 0) + place END AS source_sequence,
            CASE WHEN edge IS NOT NULL THEN MAP {{'{EDGE_KEY}': edge}} END AS vendor_data
        ) FROM placed"""


def _message_id() -> str:
    """Return the SQL of the message id: a hash of content and rank. Earlier versions hashed the place of the trade.

    Each part is prefixed with its length, so that different rows never produce the same text.
    """
    parts = [f"CAST({name} AS VARCHAR)" for name in (*_CONTENT, "rank")]
    text = ", ".join(f"coalesce(length({part}) || ':' || {part}, '-')" for part in parts)
    return f"left(sha256(concat('content ', {text})), 32)"


def _raise_if_ambiguous(staging: StagingDatabase, number: int, file: str) -> None:
    """Raise an error if an equal trade is at this file's edge and at the opposite edge of a file loaded before."""
    content = ", ".join(_CONTENT)
    found = staging.execute(
        f"""
        WITH edges AS (
            SELECT {content}, edge, count(*) AS trades FROM ({_file_with_edges(number)}) WHERE edge IS NOT NULL
            GROUP BY ALL
        )
        SELECT edges.timestamp, edges.price, edges.quantity, edge, has_first
        FROM edges JOIN ({_KNOWN_CONTENTS}) AS stored ON {_same("edges", "stored")}
            JOIN ({_KNOWN_INSTANTS}) AS instants ON {_same("edges", "instants", _INSTANT)}
        WHERE NOT complete AND CASE edge
            WHEN 'first' THEN last_trades > 0 AND edges.trades > first_trades
            WHEN 'last' THEN first_trades > 0 AND edges.trades > last_trades
            ELSE first_trades + last_trades > 0 AND edges.trades > only_trades END
        ORDER BY ALL LIMIT 1"""
    ).fetchone()
    if found is None:
        return
    time, price, quantity, edge, has_first = found
    here = {"first": "begins", "last": "ends", "only": "begins and ends"}[edge]
    there = "begins" if edge == "last" or (edge == "only" and has_first) else "ends"
    raise InputError(
        f"{file} {here} at {iso(from_microseconds(time))}, where a file loaded before {there}, and both have a trade "
        f"of price {price.normalize():f} and volume {quantity.normalize():f}: without trade ids it may be the same "
        "trade or one more. Load a file that has all trades of this time between earlier and later ones, for example "
        "both files joined; nothing was loaded"
    )
