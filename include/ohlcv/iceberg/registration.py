"""Files of tables that the catalog does not know: found before a table is created, and registered on request.

They exist after a catalog was lost, replaced or restored from a backup. A new table in the same folder would treat them
as orphan files, and maintenance would delete them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable

from pyarrow.fs import FileSelector, FileSystem, LocalFileSystem
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError
from pyiceberg.io import load_file_io
from pyiceberg.serializers import FromInputFile
from pyiceberg.table.metadata import TableMetadata

from ohlcv.config.locations import to_local_path
from ohlcv.config.settings import Settings
from ohlcv.iceberg.object_store import describe_store_error, file_system
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.table_contracts import TableContract
from ohlcv.model.table_names import Identifier

# 00012-<uuid>.metadata.json, compressed or not.
_METADATA_NAME = r"([0-9]+)-[0-9a-f-]+(\.gz)?\.metadata\.json(\.gz)?"


def check_no_files(settings: Settings, missing: Iterable[TableContract]) -> None:
    """Raise OhlcvError if the warehouse contains files of a table that the catalog does not contain."""
    if settings.catalog.decides_locations:
        return
    for contract in missing:
        folder = table_folder(settings, contract.identifier)
        if _list(settings, folder):
            raise OhlcvError(
                f"{folder} contains files, but the catalog {settings.catalog} has no table "
                f"{contract}: run 'ohlcv tables register' to use them, or remove the folder"
            )


def register_tables(settings: Settings, catalog: Catalog, *, replace: bool) -> list[str]:
    """Add the tables in the warehouse to the catalog with their newest metadata, and return their full names.

    With `replace`, entries that are older than the newest metadata in the folder of their table are replaced, too.
    """
    if settings.catalog.decides_locations:
        raise InputError(f"the service of the catalog {settings.catalog} registers tables itself: use its own tools")
    registered = []
    for contract in settings.contracts():
        create_namespace(catalog, contract.namespace)
        newest = _newest_metadata(settings, contract)
        if newest is None:
            continue
        if contract.identifier in catalog.list_tables(contract.namespace):
            if not replace or not _is_newer(catalog, contract, newest):
                continue
            catalog.drop_table(contract.identifier)  # removes only the entry
        catalog.register_table(contract.identifier, newest)
        registered.append(str(contract))
    return registered


def create_namespace(catalog: Catalog, namespace: Identifier) -> None:
    """Create a namespace and those above it, each if it is missing: a user may lack the right to create the others."""
    for depth in range(1, len(namespace) + 1):
        if not catalog.namespace_exists(namespace[:depth]):
            with contextlib.suppress(NamespaceAlreadyExistsError):
                catalog.create_namespace(namespace[:depth])


def table_folder(settings: Settings, identifier: Identifier) -> str:
    """Return the location of a table or view in the warehouse of a SQL catalog. Spark chooses the same for views."""
    return "/".join((settings.warehouse, *identifier))


def warehouse_files(settings: Settings, location: str) -> tuple[FileSystem, str]:
    """Return the file system of a location in the warehouse, and its path there."""
    path = to_local_path(location)
    if settings.store is not None and path is None:
        return file_system(settings.store), location.removeprefix("s3://")
    return LocalFileSystem(), path or location


def _list(settings: Settings, location: str) -> list[str]:
    """Return the names in a folder of the warehouse; none if it does not exist."""
    files, path = warehouse_files(settings, location)
    try:
        return [info.base_name for info in files.get_file_info(FileSelector(path, allow_not_found=True))]
    except OSError as error:
        if settings.store is not None:
            raise OhlcvError(describe_store_error(settings, error)) from None
        raise OhlcvError(f"{path} cannot be read ({error.strerror or error}): grant access") from None


def metadata_files(settings: Settings, folder: str) -> dict[int, list[str]]:
    """Return the locations of the metadata files in a folder by their version."""
    versions: dict[int, list[str]] = {}
    for name in sorted(_list(settings, folder)):
        if found := re.fullmatch(_METADATA_NAME, name):
            versions.setdefault(int(found[1]), []).append(f"{folder}/{name}")
    return versions


def metadata_folder(settings: Settings, contract: TableContract) -> str:
    """Return the location of a table's metadata in the warehouse."""
    return f"{table_folder(settings, contract.identifier)}/metadata"


def _newest_metadata(settings: Settings, contract: TableContract) -> str | None:
    """Return the location of the metadata file with the highest version in the folder of a table."""
    folder = metadata_folder(settings, contract)
    versions = metadata_files(settings, folder)
    if not versions:
        return None
    newest = versions[max(versions)]
    if len(newest) > 1:
        names = ", ".join(location.removeprefix(f"{folder}/") for location in newest)
        raise OhlcvError(
            f"{folder} contains {len(newest)} metadata files of the newest version ({names}): "
            "move all but one of them to another place, then register again"
        )
    return newest[0]


def _is_newer(catalog: Catalog, contract: TableContract, location: str) -> bool:
    """Return whether a metadata file is newer than the catalog's entry, or the entry's file is missing."""
    try:
        table = catalog.load_table(contract.identifier)
    except FileNotFoundError:
        return True
    if table.metadata_location == location:
        return False
    found = _read_metadata(catalog, location)
    if found.table_uuid != table.metadata.table_uuid:
        raise OhlcvError(
            f"{location} belongs to another table than the catalog's {contract}: "
            "move the files of one of the two to another place"
        )
    return found.last_updated_ms > table.metadata.last_updated_ms


def _read_metadata(catalog: Catalog, location: str) -> TableMetadata:
    return FromInputFile.table_metadata(load_file_io(catalog.properties, location).new_input(location))
