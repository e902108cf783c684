"""Loader for trade files: all files or nothing, each trade once, in one commit.

The rows of all files are first validated and staged in a database on disk. The table is written only after the last
row was validated. So memory stays bounded, a refused row leaves the table unchanged, and after a commit conflict only
the comparison with the table and the write are repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.file_commits import commit_or_remove
from ohlcv.iceberg.tables import check_writable, load_table_to_write
from ohlcv.ingest.commit import COMMIT_ATTEMPTS, conflict_wait, load_errors
from ohlcv.ingest.content_matching import stage_file_rows, stage_new_trades
from ohlcv.ingest.file_readers import CHUNK_ROWS, LINE, is_parquet, open_csv, read_csv, read_parquet
from ohlcv.ingest.formats import (
    GENERIC,
    NESTED,
    TradeFormat,
    check_columns,
    check_parquet_types,
    csv_columns,
    find_format,
    parse_json_columns,
    prepare_for_duckdb,
    trim_text,
)
from ohlcv.ingest.row_validation import checked_name, validation_query
from ohlcv.ingest.staging import (
    StagingDatabase,
    count_staged,
    dedupe_batch,
    drop_already_loaded,
    open_staging,
    stage,
    staged_parts,
)
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.intervals import to_microseconds

MAX_LISTED_REFUSALS = 1000

ProgressCallback = Callable[[str], None]


@dataclass(frozen=True)
class RefusedRow:
    """A row that was not loaded, with its line number (in Parquet, its row number)."""

    file: str
    line: int
    reason: str


@dataclass
class LoadReport:
    """Result of a load. The JSON output of `ohlcv trades load` has the same fields."""

    files: list[str] = field(default_factory=list)
    rows_read: int = 0
    loaded: int = 0
    # Skipped because the table or an earlier row of the load has the same message.
    already_there: int = 0
    refused_count: int = 0
    # Only the first 1000; `refused_count` counts all.
    refused: list[RefusedRow] = field(default_factory=list)
    # The snapshot that the load committed; None if there were no new rows.
    snapshot_id: int | None = None


def load_trades(
    settings: Settings,
    paths: Sequence[Path],
    *,
    format: str = GENERIC.name,
    exchange: str | None = None,
    symbol: str | None = None,
    skip_refused: bool = False,
    progress: ProgressCallback | None = None,
) -> LoadReport:
    """Load trade files and return a report. Without `skip_refused`, a refused row means that nothing is loaded."""
    report_progress = progress or _ignore_progress
    source_format = find_format(format)
    exchange, symbol = checked_name("--exchange", exchange), checked_name("--symbol", symbol)
    if source_format is not GENERIC and not symbol:
        raise InputError(f"a {source_format.name} file does not contain its symbol: give --symbol")
    with load_errors(settings, "read"):
        _open_table(settings)  # reports a missing table before the files are read, which may take an hour
    report = LoadReport(files=[str(path) for path in paths])
    parameters = {
        "exchange": exchange or source_format.exchange,
        "symbol": symbol,
        "now": to_microseconds(datetime.now(UTC)),
    }
    with open_staging() as staging:
        for number, path in enumerate(paths):
            _stage_file(staging, source_format, number, path, parameters, report, report_progress)
        if report.refused_count and not skip_refused:
            return report
        _write(settings, staging, source_format, report, report_progress)
    return report


def append_trades(settings: Settings, trades: pa.Table, *, progress: ProgressCallback | None = None) -> LoadReport:
    """Append rows that have the columns of the trades table, without validation; skip rows that it contains."""
    report = LoadReport(rows_read=len(trades))
    with open_staging() as staging:
        for start in range(0, len(trades), CHUNK_ROWS):
            staging.register("validated", trades.slice(start, CHUNK_ROWS))
            stage(staging)
        _write(settings, staging, GENERIC, report, progress or _ignore_progress)
    return report


def _ignore_progress(message: str) -> None:
    pass


def _stage_file(
    staging: StagingDatabase,
    source_format: TradeFormat,
    number: int,
    path: Path,
    parameters: dict[str, str | int | None],
    report: LoadReport,
    report_progress: ProgressCallback,
) -> None:
    rows_read = 0
    for chunk in map(trim_text, _read_chunks(source_format, path, parameters)):
        staging.register("chunk", chunk)
        exchange, symbol = _text(parameters["exchange"]), _text(parameters["symbol"])
        query = validation_query(source_format, chunk.column_names, exchange, symbol)
        used = {name: value for name, value in parameters.items() if f"${name}" in query}
        staging.execute(f"CREATE OR REPLACE TEMP TABLE validated AS {query}", used)
        if source_format.has_ids:
            stage(staging, "WHERE reason IS NULL")
        else:
            stage_file_rows(staging, number)
        _record_refused(staging, path, report)
        rows_read += len(chunk)
        report.rows_read += len(chunk)
        report_progress(f"{path.name}: {rows_read:,} rows read")
    staging.unregister("chunk")


def _text(value: str | int | None) -> str | None:
    return value if isinstance(value, str) else None


def _read_chunks(source_format: TradeFormat, path: Path, parameters: dict[str, str | int | None]) -> Iterable[pa.Table]:
    """Check a file's header or schema, and return its rows in chunks with the columns of the format."""
    if is_parquet(path):
        if source_format is not GENERIC:
            raise InputError(f"{path} is a Parquet file: load it with --format generic")
        schema, chunks = read_parquet(path)
        check_columns(source_format, path, schema.names)
        check_parquet_types(path, schema)
        _check_exchange_and_symbol(path, schema.names, parameters)
        return (prepare_for_duckdb(path, chunk) for chunk in chunks)
    file = open_csv(path)
    names, has_header = csv_columns(source_format, path, file.first_row)
    if source_format is not GENERIC:
        return read_csv(file, names, has_header)
    _check_exchange_and_symbol(path, names, parameters)
    chunks = read_csv(file, names, has_header)
    return (parse_json_columns(chunk) for chunk in chunks) if set(names) & set(NESTED) else chunks


def _check_exchange_and_symbol(path: Path, names: list[str], parameters: dict[str, str | int | None]) -> None:
    for name in ("exchange", "symbol"):
        if name not in names and not parameters[name]:
            raise InputError(f"{path} has no column {name}: give --{name}")


def _record_refused(staging: StagingDatabase, path: Path, report: LoadReport) -> None:
    [(count,)] = staging.execute("SELECT count(*) FROM validated WHERE reason IS NOT NULL").fetchall()
    report.refused_count += count
    remaining = MAX_LISTED_REFUSALS - len(report.refused)
    if count and remaining:
        query = f"SELECT {LINE}, reason FROM validated WHERE reason IS NOT NULL ORDER BY {LINE} LIMIT {remaining}"
        report.refused += [RefusedRow(str(path), line, reason) for line, reason in staging.execute(query).fetchall()]


def _write(
    settings: Settings,
    staging: StagingDatabase,
    source_format: TradeFormat,
    report: LoadReport,
    report_progress: ProgressCallback,
) -> None:
    """Write the new staged rows in one commit; after a commit conflict, determine the new rows again."""
    report.already_there = dedupe_batch(staging)
    random = Random()  # noqa: S311 - spreads writers, protects nothing
    for attempt in range(COMMIT_ATTEMPTS):
        if attempt:
            wait = conflict_wait(attempt, random)
            report_progress(f"another writer committed first: trying again in {wait:.1f} s")
            time.sleep(wait)
        with load_errors(settings, "read"):
            table = _open_table(settings)
            report_progress("searching for trades that are already loaded")
            if source_format.has_ids:
                report.already_there += drop_already_loaded(staging, table)
            else:
                report.already_there = stage_new_trades(staging, table, report.files)
        new_rows = count_staged(staging)
        if not new_rows:
            return
        report_progress(f"writing {new_rows:,} trades")
        try:
            with load_errors(settings, "written"):
                report.snapshot_id = _append_staged(staging, table, report_progress)
        except CommitFailedException:
            continue
        report.loaded = new_rows
        return
    raise OhlcvError(
        f"another writer of {settings.trades_contract} committed first {COMMIT_ATTEMPTS} times: load again later"
    )


def _open_table(settings: Settings) -> Table:
    check_writable(settings)
    table = load_table_to_write(settings, settings.trades_contract)
    if required := [field.name for field in table.schema().fields if field.required]:
        raise OhlcvError(
            f"{settings.trades_contract} does not allow null in the column {', '.join(required)}: "
            "the loader needs columns that may be null; allow it with ALTER TABLE … ALTER COLUMN … DROP NOT NULL"
        )
    return table


def _append_staged(staging: StagingDatabase, table: Table, report_progress: ProgressCallback) -> int:
    # pyiceberg would retry after a conflict without checking whether the other writer loaded the same trades. The
    # property is set only in this copy of the metadata and never written.
    table.metadata.properties["commit.retry.num-retries"] = "0"
    with commit_or_remove(table) as transaction:
        written = 0
        for part in staged_parts(staging):
            transaction.append(part)
            written += len(part)
            report_progress(f"{written:,} trades written")
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return snapshot.snapshot_id
