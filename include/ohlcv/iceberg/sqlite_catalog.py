"""Embedded catalog in a SQLite file: how this process opens it, and whether it can write it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from ohlcv.config.catalogs.adapters import SQLITE_WAIT_SECONDS
from ohlcv.iceberg.local_folders import create_folder, existing_folder, find_folder_problem
from ohlcv.model.errors import InputError

_ROLE = "the catalog's folder"
# The bytes 18 and 19 of a database with write-ahead logging (https://www.sqlite.org/fileformat.html#file_format_version_numbers).
_WAL_VERSION = b"\x02\x02"


def prepare(database: Path) -> str:
    """Return the SQLite URI of the database. Create its folder on first use.

    Raise InputError if a new database cannot be created, sqlite3.Error if an existing one cannot be read.
    """
    if not os.path.exists(database):
        create_folder(database.parent, _ROLE)
        return f"file:{database}?mode=rwc"
    uri = f"file:{database}?{'mode=rw' if _is_writable(database) else _read_only(database)}"
    # pyiceberg would take a locked database for an empty one, and wait again to create its tables.
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=SQLITE_WAIT_SECONDS)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return uri


def find_write_problem(database: Path) -> str | None:
    """Return one line that says why the catalog cannot be written and what to do, or None if it can."""
    if problem := find_folder_problem(existing_folder(database.parent), _ROLE):
        return problem
    if os.path.exists(database) and not os.access(database, os.W_OK):
        return f"the catalog {database} is not writable: grant access to the file"
    return None


def _is_writable(database: Path) -> bool:
    # SQLite creates files beside the database.
    return os.access(database, os.W_OK) and os.access(database.parent, os.W_OK)


def _read_only(database: Path) -> str:
    """Return the options that open a database without writing anything.

    A database with write-ahead logging can be read without write permission in two cases: its log exists, or no other
    process uses it. Jobs remove the log at their end.
    """
    try:
        with database.open("rb") as file:
            is_wal = file.read(20)[18:] == _WAL_VERSION
    except PermissionError:
        raise InputError(f"the catalog {database} is not readable: grant access to the file") from None
    return "mode=ro&immutable=1" if is_wal and not os.path.exists(f"{database}-wal") else "mode=ro"
