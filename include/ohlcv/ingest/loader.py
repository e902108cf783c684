"""Load trades into the trades table: all of the files or nothing, each trade once, in one commit.

The rows of every file are judged and staged in a scratch database on disk first; the table is written only when the
last row has been seen. So memory stays bounded, a bad row leaves no trace, and a lost race repeats only the writing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import CATALOG_ERRORS, catalog_down, load_table, open_catalog
from ohlcv.ingest.file_readers import CHUNK_ROWS, LINE, is_parquet, open_text, read_parquet, read_text
from ohlcv.ingest.formats import (
    GENERIC,
    NESTED,
    TradeFormat,
    check_columns,
    check_parquet_types,
    prepare_parquet,
    read_nested,
    text_columns,
    trade_format,
)
from ohlcv.ingest.row_validation import judge_statement
from ohlcv.ingest.staging import Scratch, count_staged, drop_doubles, drop_known, open_scratch, stage, staged_parts
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.intervals import to_microseconds
from ohlcv.model.table_contracts import NAMESPACE, TRADES

KEPT_REFUSALS = 1000
COMMIT_ATTEMPTS = 8

Progress = Callable[[str], None]


@dataclass(frozen=True)
class RefusedRow:
    """A row that was not loaded, by the line an editor shows (in Parquet, the row's number)."""

    file: str
    line: int
    reason: str


@dataclass
class LoadReport:
    """What a load did."""

    files: list[str] = field(default_factory=list)
    rows_read: int = 0
    loaded: int = 0
    # Skipped because the table, or an earlier row of the load, had them.
    already_there: int = 0
    refused_count: int = 0
    # The first ones only; `refused_count` counts all.
    refused: list[RefusedRow] = field(default_factory=list)
    # The snapshot the load made; none when there was nothing new.
    snapshot_id: int | None = None


def load_trades(
    settings: Settings,
    paths: Sequence[Path],
    *,
    format: str = GENERIC.name,
    exchange: str | None = None,
    symbol: str | None = None,
    skip_refused: bool = False,
    progress: Progress | None = None,
) -> LoadReport:
    """Load trade files. A refused row stops the whole load, unless `skip_refused`; the report tells them."""
    say = progress or _silent
    of = trade_format(format)
    if of is not GENERIC and not symbol:
        raise InputError(f"a {of.name} file does not name its symbol: give --symbol")
    with _told(settings):
        _open_table(settings)  # a missing table is told before an hour of reading
    report = LoadReport(files=[str(path) for path in paths])
    parameters = {
        "exchange": exchange or of.exchange,
        "symbol": symbol or None,
        "now": to_microseconds(datetime.now(UTC)),
    }
    with open_scratch() as scratch:
        for path in paths:
            _stage_file(scratch, of, path, parameters, report, say)
        if report.refused_count and not skip_refused:
            return report
        _write(settings, scratch, report, say)
    return report


def append_trades(settings: Settings, trades: pa.Table, *, progress: Progress | None = None) -> LoadReport:
    """Append rows that have the contract's columns as they are, unjudged; those already there are skipped."""
    report = LoadReport(rows_read=len(trades))
    with open_scratch() as scratch:
        for start in range(0, len(trades), CHUNK_ROWS):
            scratch.register("judged", trades.slice(start, CHUNK_ROWS))
            stage(scratch)
        _write(settings, scratch, report, progress or _silent)
    return report


def _silent(message: str) -> None:
    pass


def _stage_file(
    scratch: Scratch,
    of: TradeFormat,
    path: Path,
    parameters: dict[str, str | int | None],
    report: LoadReport,
    say: Progress,
) -> None:
    scratch.execute("CREATE OR REPLACE TEMP TABLE seen (timestamp_key VARCHAR, trades BIGINT)")
    read = 0
    for chunk in _chunks(of, path, parameters):
        scratch.register("chunk", chunk)
        statement = judge_statement(of, chunk.column_names, _text(parameters["exchange"]), _text(parameters["symbol"]))
        used = {name: value for name, value in parameters.items() if f"${name}" in statement}
        scratch.execute(f"CREATE OR REPLACE TEMP TABLE judged AS {statement}", used)
        stage(scratch, "WHERE reason IS NULL")
        if of.numbers_ties:
            scratch.execute(
                "CREATE OR REPLACE TEMP TABLE seen AS SELECT timestamp_key, sum(trades)::BIGINT AS trades FROM "
                "(SELECT timestamp_key, count(*) AS trades FROM judged GROUP BY ALL UNION ALL FROM seen) GROUP BY ALL"
            )
        _note_refused(scratch, path, report)
        read += len(chunk)
        report.rows_read += len(chunk)
        say(f"{path.name}: {read:,} rows read")
    scratch.unregister("chunk")


def _text(value: str | int | None) -> str | None:
    return value if isinstance(value, str) else None


def _chunks(of: TradeFormat, path: Path, parameters: dict[str, str | int | None]) -> Iterable[pa.Table]:
    """Give a file's rows with the format's columns, once its header or schema is one that can be loaded."""
    if is_parquet(path):
        if of is not GENERIC:
            raise InputError(f"{path} is a Parquet file: load it with --format generic")
        schema, chunks = read_parquet(path)
        check_columns(of, path, schema.names)
        check_parquet_types(path, schema)
        _check_given(path, schema.names, parameters)
        return (prepare_parquet(path, chunk) for chunk in chunks)
    file = open_text(path)
    names, has_header = text_columns(of, path, file.first_row)
    if of is not GENERIC:
        return read_text(file, names, has_header)
    _check_given(path, names, parameters)
    chunks = read_text(file, names, has_header)
    return (read_nested(chunk) for chunk in chunks) if set(names) & set(NESTED) else chunks


def _check_given(path: Path, names: list[str], parameters: dict[str, str | int | None]) -> None:
    for name in ("exchange", "symbol"):
        if name not in names and not parameters[name]:
            raise InputError(f"{path} has no column {name}: give --{name}")


def _note_refused(scratch: Scratch, path: Path, report: LoadReport) -> None:
    [(count,)] = scratch.execute("SELECT count(*) FROM judged WHERE reason IS NOT NULL").fetchall()
    report.refused_count += count
    room = KEPT_REFUSALS - len(report.refused)
    if count and room:
        query = f"SELECT {LINE}, reason FROM judged WHERE reason IS NOT NULL ORDER BY {LINE} LIMIT {room}"
        report.refused += [RefusedRow(str(path), line, reason) for line, reason in scratch.execute(query).fetchall()]


def _write(settings: Settings, scratch: Scratch, report: LoadReport, say: Progress) -> None:
    """Write what is staged and new in one commit; after a lost race look again what is new."""
    report.already_there = drop_doubles(scratch)
    for _ in range(COMMIT_ATTEMPTS):
        with _told(settings):
            table = _open_table(settings)
            say("looking for trades that are already there")
            report.already_there += drop_known(scratch, table)
            staged = count_staged(scratch)
            if not staged:
                return
            say(f"writing {staged:,} trades")
            try:
                report.snapshot_id = _append_staged(scratch, table, say)
            except CommitFailedException:
                say("another writer came first: looking again")
            else:
                report.loaded = staged
                return
    raise OhlcvError(f"{COMMIT_ATTEMPTS} times another writer of {NAMESPACE}.{TRADES.name} came first: load again")


@contextlib.contextmanager
def _told(settings: Settings) -> Iterator[None]:
    """Turn what a catalog or a warehouse that fails raises into one line."""
    try:
        yield
    except CATALOG_ERRORS as error:
        raise OhlcvError(f"{catalog_down(settings, error)}; then load again: no trade is loaded twice") from None
    except OSError as error:
        raise OhlcvError(f"the trades could not be written ({error}): nothing was loaded") from None


def _open_table(settings: Settings) -> Table:
    return load_table(open_catalog(settings), TRADES)


def _append_staged(scratch: Scratch, table: Table, say: Progress) -> int:
    # pyiceberg would repeat a lost commit by itself, without looking whether the winner wrote the same trades.
    # Only this copy of the metadata says so; the property is never written.
    table.metadata.properties["commit.retry.num-retries"] = "0"
    written = 0
    with table.transaction() as transaction:
        for part in staged_parts(scratch):
            transaction.append(part)
            written += len(part)
            say(f"{written:,} trades written")
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return snapshot.snapshot_id
