"""Commit of a load: files of a failed attempt are removed, conflicts are retried, errors are one line."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from random import Random

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table, Transaction

from ohlcv.config.settings import Settings
from ohlcv.iceberg.catalog_errors import catalog_errors, describe_catalog_error
from ohlcv.iceberg.written_files import WrittenFiles
from ohlcv.model.errors import OhlcvError

COMMIT_ATTEMPTS = 16
# The wait before a repeated attempt doubles up to the longest one, so all waits of a load are under five minutes.
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 25.0


def conflict_wait(attempt: int, random: Random) -> float:
    """Return the seconds to wait before an attempt (the second is 1); half of it is random, so that writers spread."""
    longest = min(FIRST_WAIT_SECONDS * 2 ** (attempt - 1), LONGEST_WAIT_SECONDS)
    return random.uniform(longest / 2, longest)


@contextlib.contextmanager
def commit_or_remove(table: Table) -> Iterator[Transaction]:
    """Commit a transaction at the end of the block. After an error, remove the files that it has written.

    The files stay if the commit may have succeeded. If it has not, the removal of orphan files deletes them.
    """
    written = WrittenFiles(table)
    transaction = table.transaction()
    committing = False
    try:
        yield transaction
        committing = True
        transaction.commit_transaction()
    except BaseException as error:
        if not committing or not _may_be_committed(transaction, table, error):
            written.remove()
        raise
    finally:
        written.detach()


def _may_be_committed(transaction: Transaction, table: Table, error: BaseException) -> bool:
    if isinstance(error, CommitFailedException):
        return False
    if not isinstance(table.catalog, SqlCatalog):
        return True
    if isinstance(error, OSError):
        return False  # the metadata file, which is written before the database
    if table.catalog.engine.dialect.name != "sqlite":
        return True
    try:
        committed = table.catalog.load_table(table.name())
    except Exception:
        return True
    return committed.snapshot_by_id(transaction.table_metadata.current_snapshot_id or 0) is not None


@contextlib.contextmanager
def load_errors(settings: Settings, action: str) -> Iterator[None]:
    """Convert errors of the catalog or the warehouse to one line. The action is "read" or "written"."""
    try:
        yield
    except catalog_errors() as error:
        raise OhlcvError(
            f"{describe_catalog_error(settings, error)}; then load again (no trade is loaded twice)"
        ) from None
    except (OSError, pa.ArrowException) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise OhlcvError(
                f"no space left in {settings.warehouse}: nothing was loaded, free space and load again"
            ) from None
        cause = str(error).strip().splitlines()[0]
        if action == "read":
            cause += "; see 'ohlcv doctor'"
        raise OhlcvError(f"the trades table could not be {action}, nothing was loaded: {cause}") from None
