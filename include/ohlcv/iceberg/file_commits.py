"""Commits of files written without a JVM, found again by the id of the attempt; a failed one leaves no files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any
from uuid import uuid4

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.io.pyarrow import ArrowScan, write_file
from pyiceberg.manifest import DataFile, ManifestFile
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.table import FileScanTask, Table, Transaction, WriteTask
from pyiceberg.table.snapshots import Operation
from pyiceberg.typedef import Record

from ohlcv.iceberg.damage import report_damage, report_damaged_file
from ohlcv.iceberg.tables import load_table
from ohlcv.iceberg.write_lock import AssertLockHeld
from ohlcv.iceberg.written_files import WrittenFiles
from ohlcv.model import summary_keys
from ohlcv.model.errors import OhlcvError
from ohlcv.model.table_contracts import TableContract

# Rows of a partition by its transformed values, such as the number of a day.
PartitionRows = tuple[Record, pa.Table]


@contextmanager
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


def commit_files(
    catalog: Catalog,
    contract: TableContract,
    table: Table,
    added: Iterable[PartitionRows],
    removed: Sequence[DataFile],
    assert_lock_held: AssertLockHeld,
    properties: Mapping[str, str] | None = None,
    snapshot_property: str | None = None,
    summary: Mapping[str, str] | None = None,
) -> Table:
    """Add rows, remove files and set properties in one commit, and return the table after it.

    A new snapshot has `summary` and is named by the property `snapshot_property`. Raise OhlcvError if another task has
    committed since the table was loaded.
    """
    attempt = uuid4().hex
    new_properties = dict(properties or {})
    # pyiceberg would repeat the commit on top of another one. The property is set only in this copy of the metadata.
    table.metadata.properties["commit.retry.num-retries"] = "0"
    try:
        with commit_or_remove(table) as transaction:
            files = list(_write(table, added))
            if files or removed or not properties:
                named = {**(summary or {}), summary_keys.ATTEMPT: attempt}
                update = transaction.update_snapshot(snapshot_properties=named)
                with update.overwrite() if removed else update.merge_append() as producer:
                    _evaluate_separately(producer)
                    if not files and removed:
                        # pyiceberg calls every such commit an overwrite.
                        producer._operation = Operation.DELETE
                    for file in removed:
                        producer.delete_data_file(file)
                    for file in files:
                        producer.append_data_file(file)
                if snapshot_property is not None:
                    new_properties[snapshot_property] = str(producer.snapshot_id)
            if new_properties:
                transaction.set_properties({**new_properties, summary_keys.ATTEMPT: attempt})
            assert_lock_held()
    except CommitFailedException:
        raise OhlcvError(
            f"another task has changed {contract} at the same time: the next recording continues"
        ) from None
    except Exception:
        # The reply may have been lost.
        found = _find_commit(catalog, contract, attempt)
        if found is None:
            raise
        return found
    return table


def _evaluate_separately(producer: Any) -> None:
    """Let each manifest have an evaluator of its own. pyiceberg's has a state, and threads that share it miss files."""
    build = producer._build_manifest_evaluator

    def evaluator_of(spec: int) -> Callable[[ManifestFile], bool]:
        def evaluate(manifest: ManifestFile) -> bool:
            return bool(build(spec)(manifest))

        return evaluate

    producer._build_manifest_evaluator = evaluator_of


def _find_commit(catalog: Catalog, contract: TableContract, attempt: str) -> Table | None:
    """Return the table if it has the commit of an attempt. None if it has not, or if the catalog does not answer."""
    with suppress(Exception):
        table = load_table(catalog, contract)
        summaries = [each.summary.additional_properties for each in table.snapshots() if each.summary is not None]
        if any(each.get(summary_keys.ATTEMPT) == attempt for each in (*summaries, table.properties)):
            return table
    return None


def _write(table: Table, added: Iterable[PartitionRows]) -> Iterator[DataFile]:
    schema, numbers, batch = table.schema(), count(), uuid4()
    arrow_schema = schema.as_arrow()
    for partition, rows in added:
        batches = rows.select(arrow_schema.names).cast(arrow_schema).combine_chunks().to_batches()
        task = WriteTask(batch, next(numbers), schema, batches, partition_key=_partition_key(table, partition))
        yield from write_file(table.io, table.metadata, iter([task]))


def _partition_key(table: Table, partition: Record) -> PartitionKey:
    # pyiceberg applies the transforms only with pyiceberg-core: the values are transformed already.
    fields = table.spec().fields
    values = [PartitionFieldValue(field, partition[position]) for position, field in enumerate(fields)]
    return PartitionKey(values, table.spec(), table.schema())


def read_file(table: Table, task: FileScanTask) -> pa.Table:
    """Return all rows of a file."""
    with report_damaged_file(table, task):
        return ArrowScan(table.metadata, table.io, table.schema(), AlwaysTrue()).to_table([task])


def plan(table: Table, condition: BooleanExpression) -> list[FileScanTask]:
    """Return the files that may have matching rows."""
    scan = table.scan(condition)
    with report_damage(table, scan):
        return list(scan.plan_files())


def rows_of(table: Table, values: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows with the columns of a table."""
    return pa.Table.from_pylist([dict(each) for each in values], schema=table.schema().as_arrow())
