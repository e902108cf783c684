"""Candidates: commits on a branch of their own that no reader sees until one commit makes them main's current snapshot.

A branch instead of a staged snapshot of Iceberg (`spark.wap.id`): after a lost reply Iceberg repeats the commit, finds
its snapshot and makes it the current one of the branch it writes to. For a staged snapshot that is main.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

from pyspark.sql import SparkSession

from ohlcv.iceberg.write_lock import AssertLockHeld
from ohlcv.model.audit_records import CANDIDATE_BRANCH
from ohlcv.model.table_contracts import STAGING_PROPERTY
from spark_jobs.iceberg.table_metadata import find_after_error, is_published
from spark_jobs.runtime.py4j_bridge import JavaObject
from spark_jobs.runtime.spark_errors import LostRaceError, is_conflict

_BRANCH_SETTING = "spark.wap.branch"


def keeps_snapshots(table: JavaObject) -> bool:
    """Return whether a catalog has shown that it keeps more than the current snapshot of a table."""
    # A table may have thousands, and each costs a call to the JVM.
    return len(list(islice(table.snapshots(), 2))) > 1


def permit_staging(table: JavaObject) -> None:
    """Set the property without which Spark writes to main; tables of earlier versions lack it."""
    if table.properties().get(STAGING_PROPERTY) != "true":
        table.updateProperties().set(STAGING_PROPERTY, "true").commit()


def create_branch(table: JavaObject, branch: str, snapshot: int) -> None:
    """Begin a branch at a snapshot. On a branch that the write itself creates, Iceberg counts its totals from zero."""
    try:
        table.manageSnapshots().createBranch(branch, snapshot).commit()
    except Exception as error:
        stopped = f"{table.name()}: the catalog stopped answering, nothing was published: run again"
        if find_after_error(table, error, lambda: table.refs().get(branch), stopped) is None:
            raise


@contextmanager
def writing_to(spark: SparkSession, branch: str) -> Iterator[None]:
    """Write to a branch inside the block."""
    spark.conf.set(_BRANCH_SETTING, branch)
    try:
        yield
    finally:
        spark.conf.unset(_BRANCH_SETTING)


def candidate_branches(table: JavaObject, before: int | None = None) -> list[str]:
    """Return the branches of candidates, by default all of them, otherwise those older than a time in milliseconds."""
    names = [str(name) for name in table.refs() if str(name).startswith(CANDIDATE_BRANCH)]
    return [name for name in names if before is None or table.snapshot(name).timestampMillis() < before]


def publish(table: JavaObject, candidate: int, branches: Iterable[str], assert_lock_held: AssertLockHeld) -> None:
    """Make a candidate main's current snapshot and remove the branches, in one commit.

    Raise LostRaceError if the candidate's parent is no longer main's current snapshot.
    """
    assert_lock_held()
    try:
        changes = table.manageSnapshots().cherrypick(candidate)
        for branch in branches:
            changes = changes.removeBranch(branch)
        changes.commit()
    except Exception as error:
        stopped = (
            f"{table.name()}: the catalog stopped answering, so the candles may or may not be published: "
            "run again, a rerun writes only what is missing"
        )
        if find_after_error(table, error, lambda: is_published(table, candidate), stopped):
            return
        if is_conflict(error):
            raise LostRaceError(f"{table.name()}: another writer committed while the candles were audited") from error
        raise


def discard(
    table: JavaObject, branches: Iterable[str], properties: Mapping[str, str], superseded: Iterable[int] = ()
) -> None:
    """Remove branches and superseded candidates with their files, and set properties, in one commit.

    The snapshots of the branches stay until maintenance expires them.
    """
    # Iceberg refuses to expire snapshots where the catalog's service does this.
    expires = table.properties().get("gc.enabled") != "false"
    unneeded = [
        each for each in superseded if expires and table.snapshot(each) is not None and not is_published(table, each)
    ]
    transaction: Any = table.newTransaction()
    references = transaction.manageSnapshots()
    existing = [branch for branch in branches if table.refs().get(branch) is not None]
    for branch in existing:
        references = references.removeBranch(branch)
    if existing:
        references.commit()
    if properties:
        update = transaction.updateProperties()
        for name, value in properties.items():
            update.set(name, value)
        update.commit()
    if unneeded:
        # Without a time limit Iceberg would expire old snapshots of main, too.
        expiry = transaction.expireSnapshots().expireOlderThan(0)
        for snapshot in unneeded:
            expiry = expiry.expireSnapshotId(snapshot)
        expiry.commit()
    if existing or properties or unneeded:
        transaction.commitTransaction()
