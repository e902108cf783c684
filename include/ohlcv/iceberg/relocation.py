"""Relocation: correct the absolute locations in the metadata of tables after their home was copied or moved.

The metadata files of the new place are rewritten one by one, and the catalog is changed last, in one transaction. So
an interrupted relocation can be repeated. Files of the old place are neither read nor changed.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.table import StaticTable
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from ohlcv.config.locations import is_inside, to_local_path
from ohlcv.config.settings import Settings
from ohlcv.iceberg.avro_files import is_complete_avro
from ohlcv.iceberg.registration import table_folder
from ohlcv.iceberg.tables import open_catalog
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.table_names import Identifier, dotted

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Entry:
    """A table or view in the catalog, and its folder in the warehouse."""

    identifier: Identifier
    pointer: str
    is_view: bool
    folder: str

    @property
    def name(self) -> str:
        return dotted(self.identifier)

    @property
    def metadata_folder(self) -> Path:
        return Path(to_local_path(self.folder) or "") / "metadata"

    @property
    def metadata_file(self) -> Path:
        """Return the current metadata file in the warehouse."""
        return self.metadata_folder / self.pointer.rpartition("/")[2]

    @property
    def new_pointer(self) -> str:
        return f"{self.folder}/metadata/{self.metadata_file.name}"


@dataclass(frozen=True)
class Relocation:
    """Result for one table or view, with its full name: number of rewritten metadata files, and unreadable ones."""

    name: str
    rewritten: int
    unreadable: tuple[str, ...]


def relocate_tables(settings: Settings) -> list[Relocation]:
    """Make all tables and views of the catalog point to the files in the configured warehouse."""
    if settings.catalog.decides_locations or to_local_path(settings.warehouse) is None:
        raise InputError(
            "only tables in a local folder and a SQLite or PostgreSQL catalog can be relocated: "
            "use Iceberg's rewrite_table_path for others"
        )
    catalog = open_catalog(settings)
    assert isinstance(catalog, SqlCatalog)
    entries = list(_entries(catalog, settings))
    if not entries:
        raise OhlcvError(f"the catalog {settings.catalog} has no tables: run 'ohlcv tables register' or 'create'")
    for entry in entries:
        if not entry.metadata_file.is_file():
            raise OhlcvError(
                f"{entry.metadata_file} is missing: copy or move the complete warehouse to {settings.warehouse}, "
                "then relocate again"
            )
    relocations = []
    for entry in entries:
        relocations.append(_relocate(entry, settings.warehouse))
        if not entry.is_view:
            _check_files(entry)
    _point_to_warehouse(catalog, entries)
    return relocations


def _entries(catalog: SqlCatalog, settings: Settings) -> Iterator[Entry]:
    namespaces = [dotted(namespace) for namespace in settings.names.namespaces]
    query = select(IcebergTables).where(
        IcebergTables.catalog_name == catalog.name, IcebergTables.table_namespace.in_(namespaces)
    )
    with Session(catalog.engine) as session:
        for row in session.scalars(query):
            identifier = (*row.table_namespace.split("."), row.table_name)
            folder = table_folder(settings, identifier)
            yield Entry(identifier, row.metadata_location or "", row.iceberg_type == "VIEW", folder)


def _relocate(entry: Entry, warehouse: str) -> Relocation:
    """Rewrite the metadata files of a table in its new folder. Files that are correct stay unchanged."""
    place = entry.folder.removeprefix(warehouse)
    old_warehouses = {
        _warehouse_of(location, suffix)
        for location, suffix in (
            (entry.pointer, f"{place}/metadata/{entry.metadata_file.name}"),
            (str(_read_json(entry.metadata_file)["location"]), place),
        )
    }
    new_location = _Mapping(old_warehouses, warehouse)
    rewritten, unreadable = 0, []
    # Manifest lists contain the sizes of manifests, so manifests come first.
    readable = []
    for path in entry.metadata_folder.glob("*.avro"):
        if is_complete_avro(path.read_bytes()):
            readable.append(path)
        else:
            # Usually left by a killed job. If a snapshot needs the file, the check of the files fails.
            unreadable.append(str(path))
    for path in sorted(readable, key=_is_manifest_list):
        rewritten += _rewrite_avro(path, new_location)
    for path in entry.metadata_folder.glob("*.metadata.json"):
        rewritten += _rewrite_json(path, new_location)
    return Relocation(entry.name, rewritten, tuple(unreadable))


def _warehouse_of(location: str, suffix: str) -> str:
    path = to_local_path(location)
    if path is None or not path.endswith(suffix):
        raise OhlcvError(f"{location} is not a place in a local warehouse: this table cannot be relocated")
    return path.removesuffix(suffix)


class _Mapping:
    """Function that returns the new location for a location in an old warehouse, and any other text unchanged."""

    def __init__(self, old_warehouses: Iterable[str], warehouse: str) -> None:
        self._warehouse = warehouse
        new = to_local_path(warehouse)
        self._prefixes = [
            f"{scheme}{old}" for old in old_warehouses if old != new for scheme in ("file://", "file:", "")
        ]

    def __call__(self, text: str) -> str:
        for prefix in self._prefixes:
            if f"{text}/".startswith(f"{prefix}/"):
                return self._warehouse + text.removeprefix(prefix)
        return text


def _is_manifest_list(path: Path) -> bool:
    """Return whether an Avro file is a manifest list; otherwise it is a manifest."""
    with path.open("rb") as file:
        schema: Any = fastavro.reader(file).writer_schema
    return any(field["name"] == "manifest_path" for field in schema["fields"])


def _rewrite_avro(path: Path, new_location: Callable[[str], str]) -> bool:
    """Replace the locations in a manifest or manifest list. Return whether the file changed."""
    with path.open("rb") as file:
        reader = fastavro.reader(file)
        records: list[Any] = list(reader)
    changed = False
    for record in records:
        holder, name = (record, "manifest_path") if "manifest_path" in record else (record["data_file"], "file_path")
        # The rows of a position delete file contain locations of data files.
        if holder.get("content") == 1 and name == "file_path":
            raise OhlcvError(
                f"{path} lists position delete files, which cannot be relocated: "
                "merge them in the old place with Iceberg's rewrite_data_files, then copy the home again"
            )
        location = new_location(holder[name])
        changed |= location != holder[name]
        holder[name] = location
        if name == "manifest_path" and (manifest := Path(to_local_path(location) or "")).exists():
            record["manifest_length"] = manifest.stat().st_size
    if changed:
        metadata = {name: value for name, value in reader.metadata.items() if not name.startswith("avro.")}
        schema: Any = reader.writer_schema
        with _replacement(path) as temporary, temporary.open("wb") as file:
            fastavro.writer(file, schema, records, codec=reader.codec, metadata=metadata)
    return changed


def _rewrite_json(path: Path, new_location: Callable[[str], str]) -> bool:
    """Replace the locations in a metadata file, which may be compressed. Return whether the file changed."""
    before = _read_json(path)
    after = _map_texts(before, new_location)
    if before == after:
        return False
    content = json.dumps(after).encode()
    compressed = path.read_bytes().startswith(_GZIP)
    with _replacement(path) as temporary:
        temporary.write_bytes(gzip.compress(content) if compressed else content)
    return True


def _read_json(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    try:
        document: dict[str, Any] = json.loads(gzip.decompress(content) if content.startswith(_GZIP) else content)
    except (ValueError, EOFError, OSError) as error:
        raise OhlcvError(f"{path} is damaged ({error}): restore it from a backup, then relocate again") from None
    return document


def _map_texts(value: Any, function: Callable[[str], str]) -> Any:
    """Apply a function to all texts in a JSON document, except names."""
    if isinstance(value, str):
        return function(value)
    if isinstance(value, dict):
        return {name: _map_texts(each, function) for name, each in value.items()}
    return [_map_texts(each, function) for each in value] if isinstance(value, list) else value


@contextmanager
def _replacement(path: Path) -> Iterator[Path]:
    """Yield a temporary file that replaces the file at the end."""
    temporary = path.with_name(f".{path.name}.tmp")
    yield temporary
    # Hadoop writes checksum files and verifies them.
    path.with_name(f".{path.name}.crc").unlink(missing_ok=True)
    temporary.replace(path)


def _check_files(entry: Entry) -> None:
    """Raise an error if a data file of the current snapshot is missing, has another size, or is elsewhere."""
    table = StaticTable.from_metadata(entry.new_pointer)
    for task in table.scan().plan_files():
        location = task.file.file_path
        path = Path(to_local_path(location) or "")
        if not is_inside(location, entry.folder):
            raise OhlcvError(f"{entry.name} has a file outside its folder, which cannot be relocated: {path}")
        if not path.is_file() or path.stat().st_size != task.file.file_size_in_bytes:
            raise OhlcvError(f"{path} is missing or incomplete: copy or move the complete home, then relocate again")


def _point_to_warehouse(catalog: SqlCatalog, entries: Iterable[Entry]) -> None:
    with Session(catalog.engine) as session, session.begin():
        for entry in entries:
            if entry.pointer == entry.new_pointer:
                continue
            changed = session.execute(
                update(IcebergTables)
                .where(
                    IcebergTables.catalog_name == catalog.name,
                    IcebergTables.table_namespace == dotted(entry.identifier[:-1]),
                    IcebergTables.table_name == entry.identifier[-1],
                    IcebergTables.metadata_location == entry.pointer,
                )
                .values(metadata_location=entry.new_pointer, previous_metadata_location=None)
            )
            if changed.rowcount != 1:  # type: ignore[attr-defined]  # the result of an UPDATE has a row count
                raise OhlcvError(f"{entry.name} was changed meanwhile: stop all writers, then relocate again")
