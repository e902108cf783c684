"""Check of one table: metadata, manifests and data files of all retained snapshots; no library compares all of them.

The files of main and of the other branches are read completely; of those that only earlier snapshots have, existence
and size are checked. Memory does not grow with the size of the files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from pyiceberg.manifest import DataFile, DataFileContent, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from ohlcv.iceberg.damage import check_size
from ohlcv.integrity.data_files import ReadContent, check_content
from ohlcv.integrity.findings import Damage, FileKind, TableCheck
from ohlcv.integrity.metadata_files import check_metadata_file, read_manifest, read_manifest_list
from ohlcv.integrity.repairs import CheckedTable
from ohlcv.model.errors import DamagedFileError

# Reading and decoding takes a core; asking a store for sizes only waits.
CONTENT_THREADS, SIZE_THREADS = 4, 16
# Files that wait for a thread.
QUEUE = 256

# Shows the current step.
Progress = Callable[[str], None]


class _File(NamedTuple):
    """A file and how it is checked: the newest snapshot that has it, and the partition spec of its manifest."""

    file: DataFile
    snapshot: int
    spec: int
    is_current: bool
    is_read: bool


def check_table(
    checked: CheckedTable, table: Table, since: datetime | None = None, progress: Progress = lambda _: None
) -> TableCheck:
    """Return what is damaged in a table. With `since`, only data files that were committed at or after it are read."""
    return _Checker(checked, table, since, progress).run()


class _Checker:
    def __init__(self, checked: CheckedTable, table: Table, since: datetime | None, progress: Progress) -> None:
        self._checked = checked
        self._table = table
        self._progress = progress
        self._report = TableCheck(checked.name)
        self._found: list[tuple[int | None, Damage]] = []
        self._known_manifests: set[str] = set()
        # Hashes: a path takes ten times as much memory.
        self._known_files: set[int] = set()
        # Kind and name of a branch or tag by its snapshot, without main.
        self._refs = {
            ref.snapshot_id: (ref.snapshot_ref_type.value, name)
            for name, ref in table.metadata.refs.items()
            if ref.snapshot_id != table.metadata.current_snapshot_id
        }
        # The snapshots whose files are read, None for all. The snapshot of an old file has expired.
        self._chosen = None if since is None else _snapshots_since(table, since)

    def run(self) -> TableCheck:
        begin = time.monotonic()
        try:
            check_metadata_file(self._table)
        except DamagedFileError as error:
            self._add("metadata file", error, None)
        # The newest first: the newest snapshot that has a damaged file expires last.
        snapshots = sorted(self._table.snapshots(), key=lambda each: each.timestamp_ms, reverse=True)
        main = self._table.metadata.current_snapshot_id
        groups = (
            [each for each in snapshots if each.snapshot_id == main],
            [each for each in snapshots if each.snapshot_id in self._refs],
            [each for each in snapshots if each.snapshot_id not in self._refs and each.snapshot_id != main],
        )
        # A file that several groups have is checked in the first one.
        for group, is_current in zip(groups, (True, True, False), strict=True):
            files = self._files(group, is_current)
            with ThreadPoolExecutor(CONTENT_THREADS if is_current else SIZE_THREADS) as pool:
                while part := list(islice(files, QUEUE)):
                    for each, (content, damage) in zip(part, pool.map(self._check_file, part), strict=True):
                        self._count(each, content)
                        if damage is not None:
                            kind: FileKind = "data file" if each.file.content == DataFileContent.DATA else "delete file"
                            self._add(kind, damage, each.snapshot, is_past=not is_current, file=each.file)
                    self._progress(f"{self._report.files:,} files, {self._report.bytes_read / 2**20:,.0f} MiB read")
        self._report.snapshots = len(snapshots)
        self._report.damages = list(self._still_needed())
        self._report.seconds = time.monotonic() - begin
        return self._report

    def _files(self, snapshots: Iterable[Snapshot], is_current: bool) -> Iterator[_File]:
        """Yield the files of snapshots that were not checked before."""
        for snapshot in snapshots:
            number = snapshot.snapshot_id
            for manifest in self._manifests(snapshot, is_current):
                try:
                    for entry in read_manifest(self._table.io, manifest):
                        key = hash(entry.data_file.file_path)
                        if key not in self._known_files:
                            self._known_files.add(key)
                            is_read = is_current and (self._chosen is None or entry.snapshot_id in self._chosen)
                            yield _File(entry.data_file, number, manifest.partition_spec_id, is_current, is_read)
                except DamagedFileError as error:
                    self._add("manifest", error, number, is_past=not is_current)

    def _manifests(self, snapshot: Snapshot, is_current: bool) -> Iterator[ManifestFile]:
        try:
            found = read_manifest_list(self._table.io, snapshot)
        except DamagedFileError as error:
            self._add("manifest list", error, snapshot.snapshot_id, is_past=not is_current)
            return
        for manifest in found:
            if manifest.manifest_path not in self._known_manifests:
                self._known_manifests.add(manifest.manifest_path)
                self._report.manifests += 1
                yield manifest

    def _check_file(self, each: _File) -> tuple[ReadContent | None, DamagedFileError | None]:
        """Check a file. Runs in a thread of the pool."""
        table, file = self._table, each.file
        try:
            if each.is_read:
                return check_content(table.io, table.schema(), table.specs()[each.spec], file), None
            check_size(table.io, file.file_path, file.file_size_in_bytes)
        except DamagedFileError as error:
            return None, error
        return None, None

    def _count(self, each: _File, content: ReadContent | None) -> None:
        self._report.files += 1
        if each.is_read:
            self._report.files_read += 1
            self._report.bytes_read += each.file.file_size_in_bytes
        if content is not None:
            self._report.rows += content.rows
            self._report.without_checksums += not content.has_checksums

    def _add(
        self,
        kind: FileKind,
        error: DamagedFileError,
        snapshot: int | None,
        *,
        is_past: bool = False,
        file: DataFile | None = None,
    ) -> None:
        ref = None if snapshot is None else self._refs.get(snapshot)
        self._found.append((snapshot, self._checked.damage(kind, error, is_past=is_past, ref=ref, file=file)))

    def _still_needed(self) -> Iterator[Damage]:
        """Yield what was found, without files of snapshots that have expired meanwhile: maintenance deletes them."""
        if self._found:
            self._table.refresh()
        known = {None, *(snapshot.snapshot_id for snapshot in self._table.snapshots())}
        yield from (damage for snapshot, damage in self._found if snapshot in known)


def _snapshots_since(table: Table, since: datetime) -> set[int | None]:
    first = since.timestamp() * 1000
    return {each.snapshot_id for each in table.snapshots() if each.timestamp_ms >= first}
