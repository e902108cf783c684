"""Metadata of a table: the metadata file compared with the one before, manifest lists, and manifests with their counts.

Numbers in Avro and JSON files have no checksums, so what is stated twice is compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from pyiceberg.io import FileIO
from pyiceberg.manifest import ManifestEntry, ManifestEntryStatus, ManifestFile
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot

from ohlcv.iceberg.damage import check_size
from ohlcv.iceberg.file_io import name_unreadable
from ohlcv.integrity.checksum_files import check_checksum_file
from ohlcv.model.errors import DamagedFileError, OhlcvError

# Status of an entry -> properties of the manifest list with the number of files and rows.
_COUNTS = {
    ManifestEntryStatus.ADDED: ("added_files_count", "added_rows_count"),
    ManifestEntryStatus.EXISTING: ("existing_files_count", "existing_rows_count"),
    ManifestEntryStatus.DELETED: ("deleted_files_count", "deleted_rows_count"),
}


def check_metadata_file(table: Table) -> None:
    """Raise DamagedFileError if the current metadata file differs from its checksum file or from the one before it."""
    path, metadata = table.metadata_location, table.metadata
    with name_unreadable(path):
        check_checksum_file(path)
    names = {snapshot.snapshot_id for snapshot in metadata.snapshots}
    if missing := {ref.snapshot_id for ref in metadata.refs.values()} - names:
        raise DamagedFileError(path, f"has no snapshot {min(missing)}, although a branch or tag has it")
    if metadata.current_snapshot_id is not None and metadata.current_snapshot_id not in names:
        raise DamagedFileError(path, f"has no snapshot {metadata.current_snapshot_id}, although it is the current one")
    before = _metadata_before(table)
    if before is None:
        return
    if (before.table_uuid, before.location) != (metadata.table_uuid, metadata.location):
        raise DamagedFileError(path, "is not of the same table as the metadata file before it")
    # A commit adds snapshots, schemas and partition specs, or removes them, but changes none.
    for name, old, new in (
        ("snapshot", _by_id(before.snapshots, "snapshot_id"), _by_id(metadata.snapshots, "snapshot_id")),
        ("schema", _by_id(before.schemas, "schema_id"), _by_id(metadata.schemas, "schema_id")),
        ("partition spec", _by_id(before.partition_specs, "spec_id"), _by_id(metadata.partition_specs, "spec_id")),
    ):
        if changed := [number for number in old.keys() & new.keys() if old[number] != new[number]]:
            raise DamagedFileError(path, f"differs from the metadata file before it in {name} {min(changed)}")


def _by_id(values: Iterable[object], name: str) -> dict[int, object]:
    return {getattr(value, name): value for value in values}


def _metadata_before(table: Table) -> TableMetadata | None:
    """Return the metadata before the current one, None if its file was deleted or cannot be read."""
    if not table.metadata.metadata_log:
        return None
    try:
        return read_metadata(table.io, table.metadata.metadata_log[-1].metadata_file)
    except (OhlcvError, OSError):
        return None


def read_metadata(io: FileIO, location: str) -> TableMetadata:
    """Return the content of a metadata file. Raise DamagedFileError if it is damaged, FileNotFoundError if missing."""
    return FromInputFile.table_metadata(io.new_input(location))


def read_manifest_list(io: FileIO, snapshot: Snapshot) -> list[ManifestFile]:
    """Return the manifests of a snapshot. Raise DamagedFileError if its manifest list is damaged."""
    path = snapshot.manifest_list
    with name_unreadable(path):
        check_checksum_file(path)
        return snapshot.manifests(io)


def read_manifest(io: FileIO, manifest: ManifestFile) -> Iterator[ManifestEntry]:
    """Yield the live entries of a manifest. Raise DamagedFileError if it is damaged or differs from its list."""
    path = manifest.manifest_path
    check_size(io, path, manifest.manifest_length)
    with name_unreadable(path):
        check_checksum_file(path)
        entries = manifest.fetch_manifest_entry(io, discard_deleted=False)
    files, rows = Counter[ManifestEntryStatus](), Counter[ManifestEntryStatus]()
    for entry in entries:
        files[entry.status] += 1
        rows[entry.status] += entry.data_file.record_count
    for status, names in _COUNTS.items():
        for name, found in zip(names, (files[status], rows[status]), strict=True):
            expected = getattr(manifest, name)
            if expected is not None and expected != found:
                text = f"{found:,} {name.removesuffix('_count').replace('_', ' ')}"
                raise DamagedFileError(path, f"has {text}, its manifest list says {expected:,}")
    yield from (entry for entry in entries if entry.status != ManifestEntryStatus.DELETED)
