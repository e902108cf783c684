"""Files that differ between two snapshots of a table, found by comparing manifests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from spark_jobs.iceberg.table_metadata import COLLECTIONS
from spark_jobs.runtime.py4j_bridge import JavaObject, java_class


@dataclass(frozen=True)
class ChangedFiles:
    """Files of one snapshot that the other one does not have, for each of the two."""

    removed: list[JavaObject]
    added: list[JavaObject]

    def __len__(self) -> int:
        return len(self.removed) + len(self.added)

    def only(self, condition: Callable[[JavaObject], bool]) -> ChangedFiles:
        """Return the files that meet a condition."""
        return ChangedFiles([*filter(condition, self.removed)], [*filter(condition, self.added)])

    def __iter__(self) -> Iterator[JavaObject]:
        yield from self.removed
        yield from self.added


def changed_data_files(table: JavaObject, old: JavaObject, new: JavaObject) -> ChangedFiles:
    """Return the data files that were added, deleted or rewritten."""
    before, after = (snapshot.dataManifests(table.io()) for snapshot in (old, new))
    return _changed_files(table, before, after, "DataFileSet", java_class("org.apache.iceberg.ManifestFiles").read)


def changed_delete_files(table: JavaObject, old: JavaObject, new: JavaObject) -> ChangedFiles:
    """Return the delete files that were added or removed."""
    before, after = (snapshot.deleteManifests(table.io()) for snapshot in (old, new))
    read = java_class("org.apache.iceberg.ManifestFiles").readDeleteManifest
    return _changed_files(table, before, after, "DeleteFileSet", read)


def _changed_files(
    table: JavaObject, old: JavaObject, new: JavaObject, file_set: str, read: JavaObject
) -> ChangedFiles:
    """Return the files of manifests that only one snapshot has. Manifests that both have are not read."""
    old_manifests = {manifest.path(): manifest for manifest in old}
    new_manifests = {manifest.path(): manifest for manifest in new}
    iterables, sets = (java_class(f"{COLLECTIONS}.{name}") for name in ("Iterables", "Sets"))

    def files_of(paths: Iterable[str], manifests: Mapping[str, JavaObject]) -> JavaObject:
        found = java_class(f"org.apache.iceberg.util.{file_set}").create()
        for path in paths:
            reader = read(manifests[path], table.io(), table.specs())
            # Sets are filled and compared in the JVM, because merged manifests list many unchanged files.
            iterables.addAll(found, reader)
            reader.close()
        return found

    before = files_of(old_manifests.keys() - new_manifests.keys(), old_manifests)
    after = files_of(new_manifests.keys() - old_manifests.keys(), new_manifests)
    return ChangedFiles([*sets.difference(before, after)], [*sets.difference(after, before)])
