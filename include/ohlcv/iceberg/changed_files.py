"""Data files that differ between two snapshots of a table, from the manifests that the snapshots do not share."""

from __future__ import annotations

from typing import NamedTuple

from pyiceberg.manifest import ManifestContent, ManifestFile
from pyiceberg.table import FileScanTask, ManifestGroupPlanner, Table
from pyiceberg.table.snapshots import Snapshot

from ohlcv.iceberg.file_io import name_unreadable
from ohlcv.iceberg.snapshot_summary import has_equality_deletes
from ohlcv.model.errors import EqualityDeletesError

# Path of a data file and of its delete files: equal ones have equal rows.
FileKey = tuple[str, frozenset[str]]


class ChangedFiles(NamedTuple):
    """Data files with their delete files that only the new snapshot has, and those that only the old one has."""

    added: list[FileScanTask]
    removed: list[FileScanTask]


def changed_files(table: Table, old: Snapshot | None, new: Snapshot) -> ChangedFiles:
    """Return the files that differ between two snapshots, which need not be ancestors of each other.

    A file whose delete files differ counts as added and as removed.
    """
    if has_equality_deletes(old) or has_equality_deletes(new):
        raise EqualityDeletesError(".".join(table.name()))
    manifests = [[] if each is None else _manifests(table, each) for each in (old, new)]
    # Equal manifests contain equal files. Delete files change the rows of data files in any manifest.
    has_deletes = any(each.content == ManifestContent.DELETES for part in manifests for each in part)
    paths = [{each.manifest_path for each in part} for part in manifests]
    known = set() if has_deletes else paths[0] & paths[1]
    before, after = (
        {file_key(task): task for task in _plan(table, [each for each in part if each.manifest_path not in known])}
        for part in manifests
    )
    return ChangedFiles(
        [task for key, task in after.items() if key not in before],
        [task for key, task in before.items() if key not in after],
    )


def file_key(task: FileScanTask) -> FileKey:
    """Return what identifies the rows of a file."""
    return task.file.file_path, frozenset(each.file_path for each in task.delete_files)


def _manifests(table: Table, snapshot: Snapshot) -> list[ManifestFile]:
    with name_unreadable(snapshot.manifest_list):
        return snapshot.manifests(table.io)


def _plan(table: Table, manifests: list[ManifestFile]) -> list[FileScanTask]:
    return list(ManifestGroupPlanner(table.metadata, table.io).plan_files(manifests))
