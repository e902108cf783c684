"""Damaged files of a table: found after a failed read, and by the doctor.

`file_io` checks metadata files whenever they are opened. This module finds what only a reader of the content notices.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io import FileIO
from pyiceberg.table import DataScan, FileScanTask, Table

from ohlcv.iceberg.file_io import name_unreadable
from ohlcv.iceberg.object_store import is_store_error
from ohlcv.iceberg.snapshot_summary import has_equality_deletes
from ohlcv.model.errors import DamagedFileError, EqualityDeletesError, OhlcvError

# The doctor checks this many data files of a table, the newest ones. In an object store that takes seconds.
MAX_CHECKED_FILES = 5_000
_THREADS = 16


@contextmanager
def report_damage(table: Table, scan: DataScan) -> Iterator[None]:
    """Raise OhlcvError if the block, which reads a scan, fails because of a damaged file or of equality deletes.

    Libraries raise many errors for damage (EOFError, UnicodeDecodeError, ArrowInvalid, OSError), most of them without
    the name of the file. So the files are read again after an error. An error with another cause is raised unchanged.
    """
    try:
        yield
    except OhlcvError:
        raise
    except Exception as error:
        if not is_store_error(error):
            snapshot = table.current_snapshot() if scan.snapshot_id is None else table.snapshot_by_id(scan.snapshot_id)
            if has_equality_deletes(snapshot):
                raise EqualityDeletesError(".".join(table.name())) from None
            _check_metadata(table, scan.snapshot_id)
            for task in scan.plan_files():
                _check_task(table.io, task)
        raise


@contextmanager
def report_damaged_file(table: Table, task: FileScanTask) -> Iterator[None]:
    """Raise OhlcvError like `report_damage` if the block, which reads one data file, fails because of damage."""
    try:
        yield
    except OhlcvError:
        raise
    except Exception as error:
        if not is_store_error(error):
            _check_task(table.io, task)
        raise


def is_catalog_damage(error: Exception) -> bool:
    """Return whether an error of SQLAlchemy or sqlite3 says that the file of a SQLite catalog is damaged."""
    return _is_sqlite_damage(getattr(error, "orig", error))


def _is_sqlite_damage(error: object) -> bool:
    # Damaged text cannot be decoded: neither a value nor the text of SQLite's own error.
    if isinstance(error, UnicodeDecodeError) or "Could not decode to UTF-8" in str(error):
        return True
    return str(getattr(error, "sqlite_errorname", "")).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def check_catalog_file(path: str) -> None:
    """Raise OhlcvError if a page of a SQLite catalog is damaged. A query notices only the pages that it reads."""
    uri = f"{Path(path).absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        # Another error, such as that of a locked file, is reported when the catalog is opened.
        found = str(error) if _is_sqlite_damage(error) else "ok"
    if found != "ok":
        raise DamagedFileError(path, f"is damaged ({' '.join(found.split())})")


class CheckedFiles(NamedTuple):
    """Number of data files whose existence and size were checked, and of all data files of the snapshot."""

    checked: int
    total: int


def check_files(table: Table) -> CheckedFiles:
    """Read all metadata of the current snapshot, and check existence and size of its newest data files."""
    files = _check_metadata(table)
    checked = files[:MAX_CHECKED_FILES]
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(lambda file: check_size(table.io, *file), checked):
            pass
    return CheckedFiles(len(checked), len(files))


def _check_metadata(table: Table, snapshot_id: int | None = None) -> list[tuple[str, int]]:
    """Read the manifest list and the manifests of a snapshot, and return path and size of its data files."""
    snapshot = table.current_snapshot() if snapshot_id is None else table.snapshot_by_id(snapshot_id)
    if snapshot is None:
        return []
    with name_unreadable(snapshot.manifest_list):
        manifests = snapshot.manifests(table.io)
    files = []
    for manifest in manifests:
        check_size(table.io, manifest.manifest_path, manifest.manifest_length)
        with name_unreadable(manifest.manifest_path):
            entries = manifest.fetch_manifest_entry(table.io)
        files += [(entry.data_file.file_path, entry.data_file.file_size_in_bytes) for entry in entries]
    return files


def check_size(io: FileIO, path: str, expected: int) -> None:
    """Raise DamagedFileError if a file is missing or has another size."""
    with name_unreadable(path):
        size = len(io.new_input(path))
    if size != expected:
        raise DamagedFileError(path, f"has {size:,} bytes instead of {expected:,}" if size else "is empty")


def _check_task(io: FileIO, task: FileScanTask) -> None:
    for file in (task.file, *task.delete_files):
        _check_content(io, file.file_path, file.file_size_in_bytes)


def _check_content(io: FileIO, path: str, size: int) -> None:
    """Read a data file completely and compare the checksums of its pages, which other readers do not do."""
    check_size(io, path, size)
    with name_unreadable(path):
        with io.new_input(path).open() as stream:
            content = pa.BufferReader(stream.read())
        for _ in pq.ParquetFile(content, page_checksum_verification=True).iter_batches():
            pass
