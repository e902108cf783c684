"""Restoration: set a table back to its newest state whose metadata and files are complete.

After a power loss the catalog can name files that never reached the disk, and a disk can damage a metadata file. The
state before is complete in the older files. Rows and source checkpoint of a candle table go back together, so its next
runs rebuild what is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING

from pyarrow import ArrowException
from pyarrow.fs import FileType
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import ValidationError
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import StaticTable, Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.commit_times import find_time_problem
from ohlcv.iceberg.damage import check_size
from ohlcv.iceberg.object_store import is_store_error
from ohlcv.iceberg.registration import metadata_files, metadata_folder, warehouse_files
from ohlcv.iceberg.snapshot_summary import job_summary
from ohlcv.iceberg.tables import as_sql
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.integrity.metadata_files import check_metadata_file, read_manifest, read_manifest_list
from ohlcv.model import summary_keys
from ohlcv.model.errors import DamagedFileError, InputError, MissingTableError, OhlcvError
from ohlcv.model.intervals import from_microseconds
from ohlcv.model.table_contracts import TableContract, missing_table_problem
from ohlcv.model.table_names import GIVEN_UP_PREFIX, dotted

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement


@dataclass(frozen=True)
class Restoration:
    """The state that a table is set back to, and what is given up."""

    contract: TableContract
    # Metadata file that the catalog names.
    current: str
    # Metadata file of the newest complete state. The same if the current one is complete.
    target: str
    restored_at: datetime
    # Why newer states are not complete, by their metadata file, the newest first.
    problems: dict[str, str]
    # Known publications that are given up: snapshot, time and run.
    lost: list[tuple[int, datetime, str]] = field(default_factory=list)

    @property
    def is_needed(self) -> bool:
        return self.current != self.target


class _Checks:
    """Checks of the files of states. Files that several states have are checked once."""

    def __init__(self) -> None:
        self._manifests: dict[str, str | None] = {}
        self._files: set[str] = set()

    def find_problem(self, table: Table) -> str | None:
        """Return why the state of main is not complete."""
        try:
            check_metadata_file(table)
            snapshot = table.current_snapshot()
            manifests = [] if snapshot is None else read_manifest_list(table.io, snapshot)
        except DamagedFileError as error:
            return f"{error.path} {error.problem}"
        for manifest in manifests:
            path = manifest.manifest_path
            if path not in self._manifests:
                self._manifests[path] = self._find_manifest_problem(table, manifest)
            if self._manifests[path] is not None:
                return self._manifests[path]
        return None

    def _find_manifest_problem(self, table: Table, manifest: ManifestFile) -> str | None:
        try:
            for entry in read_manifest(table.io, manifest):
                file = entry.data_file
                if file.file_path not in self._files:
                    check_size(table.io, file.file_path, file.file_size_in_bytes)
                    self._files.add(file.file_path)
        except DamagedFileError as error:
            return f"{error.path} {error.problem}"
        return None


def find_restoration(settings: Settings, catalog: Catalog, contract: TableContract) -> Restoration:
    """Return the newest complete state of a table. Raise OhlcvError if no state is complete."""
    current, previous = _committed_metadata(settings, catalog, contract)
    checks, problems, given_up = _Checks(), dict[str, str](), list[Table]()
    for location, table, error in _states(settings, contract, current, previous):
        if table is None:
            problems[location] = error
            continue
        if problem := checks.find_problem(table) or find_time_problem(table, str(contract)):
            problems[location] = problem
            given_up.append(table)
            continue
        updated = from_microseconds(table.metadata.last_updated_ms * 1000)
        return Restoration(contract, current, location, updated, problems, list(_lost(given_up, table)))
    raise OhlcvError(
        f"{contract} has no complete state ({next(iter(problems.values()))}): restore its files from a backup, "
        "or see Damaged files in docs/runbook.md"
    )


def _committed_metadata(settings: Settings, catalog: Catalog, contract: TableContract) -> tuple[str, str | None]:
    """Return the metadata file that the catalog names, and the one before it if the catalog knows it."""
    if settings.catalog.decides_locations:
        raise InputError(f"the service of the catalog {settings.catalog} restores tables itself: use its own tools")
    if not contract.mapping.is_default:
        raise InputError(f"{contract} has a mapping (OHLCV_TRADES_MAPPING), so it is only read: use its writer's tools")
    sql = as_sql(catalog)
    if sql is None:
        return catalog.load_table(contract.identifier).metadata_location, None
    from pyiceberg.catalog.sql import IcebergTables
    from sqlalchemy import select

    query = select(IcebergTables.metadata_location, IcebergTables.previous_metadata_location)
    with sql.engine.connect() as connection:
        row = connection.execute(query.where(*_entry_of(sql.name, contract))).one_or_none()
    if row is None:
        raise MissingTableError(missing_table_problem(contract))
    return row[0] or "", row[1]


def _entry_of(catalog: str, contract: TableContract) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for the entry of a table in the catalog's database."""
    from pyiceberg.catalog.sql import IcebergTables

    return (
        IcebergTables.catalog_name == catalog,
        IcebergTables.table_namespace == dotted(contract.namespace),
        IcebergTables.table_name == contract.name,
    )


def _states(
    settings: Settings, contract: TableContract, current: str, previous: str | None
) -> Iterator[tuple[str, Table | None, str]]:
    """Yield the states of a table, the newest first: metadata file, the table, and why it cannot be read."""
    seen = set[str]()
    folder = current.rpartition("/")[0] if "/metadata/" in current else metadata_folder(settings, contract)
    for location in chain((current, previous), _files_before(settings, folder, current)):
        if not location or location in seen:
            continue
        seen.add(location)
        table, error = _open(settings, location)
        yield location, table, error
        if table is not None:
            # It names the files before it. Others belong to commits that failed.
            for entry in reversed(table.metadata.metadata_log):
                yield entry.metadata_file, *_open(settings, entry.metadata_file)
            return


def _files_before(settings: Settings, folder: str, current: str) -> Iterator[str]:
    """Yield the metadata files of lower versions than the current one, the newest first."""
    found = re.match(r"[0-9]+(?=-)", current.rpartition("/")[2])
    versions = metadata_files(settings, folder)
    for version in sorted(versions, reverse=True):
        if found is None or version < int(found[0]):
            yield from versions[version]


def _open(settings: Settings, location: str) -> tuple[Table | None, str]:
    """Return the table as of a metadata file, or why there is none."""
    try:
        return StaticTable.from_metadata(location, settings.catalog.pyiceberg_properties()), ""
    except DamagedFileError as error:
        return None, f"{error.path} {error.problem}"
    except FileNotFoundError:
        return None, f"{location} is missing"
    except (ValueError, OSError, ValidationError, ArrowException) as error:
        if is_store_error(error):
            raise
        return None, f"{location or 'the entry of the catalog'} is not a metadata file"


def _lost(given_up: list[Table], target: Table) -> Iterator[tuple[int, datetime, str]]:
    """Yield the publications that the readable states that are given up have, and the target has not."""
    known = {entry.snapshot_id for entry in target.metadata.snapshot_log}
    for table in reversed(given_up):
        for entry in table.metadata.snapshot_log:
            if entry.snapshot_id not in known:
                known.add(entry.snapshot_id)
                snapshot = table.snapshot_by_id(entry.snapshot_id)
                run = job_summary(snapshot).get(summary_keys.RUN_ID, "") if snapshot else ""
                yield entry.snapshot_id, from_microseconds(entry.timestamp_ms * 1000), run


def restore(settings: Settings, catalog: Catalog, found: Restoration) -> list[str]:
    """Set a table back, and rename the metadata files that are given up. Return those that could not be renamed.

    Raise OhlcvError if the table changed meanwhile.
    """
    with write_lock(settings, found.contract) as assert_lock_held:
        assert_lock_held()
        _point_to(catalog, found)
        return [location for location in found.problems if not _rename(settings, location)]


def _rename(settings: Settings, location: str) -> bool:
    """Rename a file that is given up. Return False if that fails; a file that is missing needs no other name."""
    files, path = warehouse_files(settings, location)
    folder, _, name = path.rpartition("/")
    try:
        if files.get_file_info(path).type != FileType.NotFound:
            files.move(path, f"{folder}/{GIVEN_UP_PREFIX}{name}")
    except OSError:
        return False
    return True


def _point_to(catalog: Catalog, found: Restoration) -> None:
    sql, identifier = as_sql(catalog), found.contract.identifier
    if sql is None:
        catalog.drop_table(identifier)  # removes only the entry
        catalog.register_table(identifier, found.target)
        return
    from pyiceberg.catalog.sql import IcebergTables
    from sqlalchemy import update

    change = (
        update(IcebergTables)
        .where(*_entry_of(sql.name, found.contract), IcebergTables.metadata_location == found.current)
        .values(metadata_location=found.target, previous_metadata_location=None)
    )
    with sql.engine.begin() as connection:
        if connection.execute(change).rowcount != 1:
            raise OhlcvError(f"{found.contract} was changed meanwhile: stop all writers, then restore again")
