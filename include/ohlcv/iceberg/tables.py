"""Tables through pyiceberg, without a JVM: open, create, check against the contract, widen.

Spark jobs import this module only in the thread of the audit: importing pyiceberg takes a second of CPU time.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from pyarrow import ArrowException
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import (
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationError,
)
from pyiceberg.table import StaticTable, Table

from ohlcv.config.catalogs.adapters import SQLITE_WAIT_SECONDS
from ohlcv.config.locations import find_location_problem
from ohlcv.config.settings import Settings
from ohlcv.iceberg import sqlite_catalog
from ohlcv.iceberg.catalog_errors import catalog_errors, describe_catalog_error
from ohlcv.iceberg.commit_times import find_time_problem
from ohlcv.iceberg.damage import is_catalog_damage
from ohlcv.iceberg.local_folders import create_folder, existing_folder, find_folder_problem
from ohlcv.iceberg.object_store import find_store_problem
from ohlcv.iceberg.registration import check_no_files, create_namespace, table_folder
from ohlcv.iceberg.table_definitions import ICEBERG_TYPES, iceberg_partitions, iceberg_schema
from ohlcv.model.errors import InputError, MissingTableError, OhlcvError, UnusableMetadataError
from ohlcv.model.source_hours import PartitionBlock, partition_blocks, partition_predicate
from ohlcv.model.table_contracts import (
    TableContract,
    TableShape,
    contract_problem,
    missing_snapshot_problem,
    missing_table_problem,
)
from ohlcv.model.table_names import Identifier, TableNames, dotted

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog
    from sqlalchemy.engine import ExceptionContext


# Each kind of catalog imports its libraries when it is opened: they take up to a quarter of a second of CPU time.
def _sql_catalog(name: str, **properties: str) -> Catalog:
    from pyiceberg.catalog.sql import SqlCatalog

    return SqlCatalog(name, **properties)


def _rest_catalog(name: str, **properties: str) -> Catalog:
    from ohlcv.iceberg.rest_catalog import LimitedRestCatalog

    return LimitedRestCatalog(name, **properties)


def _glue_catalog(name: str, **properties: str) -> Catalog:
    from ohlcv.iceberg.glue_catalog import ConfirmingGlueCatalog

    return ConfirmingGlueCatalog(name, **properties)


_OWN_CLASSES: Mapping[str, Callable[..., Catalog]] = {
    "rest": _rest_catalog,
    "sql": _sql_catalog,
    "glue": _glue_catalog,
}
_WAREHOUSE = "the warehouse (OHLCV_WAREHOUSE)"


def open_catalog(settings: Settings) -> Catalog:
    """Return the catalog. Create the folder of the embedded catalog on first use."""
    # Two processes may create the tables of a new SQLite catalog at the same time. The second one retries.
    for attempt in range(3):
        try:
            catalog = _open_catalog(settings)
        except Exception as error:
            if not isinstance(error, (*catalog_errors(), UnicodeDecodeError)):
                raise
            if "already exists" in str(error) and attempt < 2:
                time.sleep(0.1)
                continue
            raise OhlcvError(describe_catalog_error(settings, error)) from error
        # Only the catalogs of an SQL database have a lock. The others do not import its libraries.
        if settings.catalog.has_lock and (sql := as_sql(catalog)):
            from sqlalchemy import event

            event.listen(sql.engine, "handle_error", lambda context: _damage_error(settings, context))
            event.listen(sql.engine, "checkout", _prepare_no_statements)
        return catalog
    raise AssertionError("unreachable")


def _prepare_no_statements(connection: Any, *_: object) -> None:
    """Stop the driver of PostgreSQL from preparing statements, which a pooler in transaction mode may not know."""
    if hasattr(connection, "prepare_threshold"):
        connection.prepare_threshold = None


def as_sql(catalog: Catalog) -> SqlCatalog | None:
    """Return a catalog as that of an SQL database, None if it is another one."""
    from pyiceberg.catalog.sql import SqlCatalog

    return catalog if isinstance(catalog, SqlCatalog) else None


def _damage_error(settings: Settings, context: ExceptionContext) -> OhlcvError | None:
    """Return the error to raise instead if the catalog's file is damaged. Only queries that read the page fail."""
    error = context.original_exception
    if settings.catalog.embedded_database is None or not isinstance(error, Exception) or not is_catalog_damage(error):
        return None
    return OhlcvError(describe_catalog_error(settings, error))


def _open_catalog(settings: Settings) -> Catalog:
    name, properties = settings.catalog.name, settings.catalog.pyiceberg_properties()
    if settings.catalog.embedded_database is not None:
        uri = sqlite_catalog.prepare(Path(settings.catalog.embedded_database))
        properties["uri"] = f"sqlite:///{uri}&uri=true&timeout={SQLITE_WAIT_SECONDS}"
    # Not load_catalog() for these: it adds the properties that pyiceberg's configuration has for this name.
    if kind := _OWN_CLASSES.get(properties.get("type", "")):
        del properties["type"]
        return kind(name, **properties)
    return load_catalog(name, **properties)


def load_table(catalog: Catalog, contract: TableContract) -> Table:
    """Return a table. Raise OhlcvError if it does not exist or does not match its contract."""
    table = load_any_table(catalog, contract)
    if problem := contract_problem(shape_of(table), contract):
        raise OhlcvError(problem)
    return table


def load_table_at(settings: Settings, contract: TableContract, metadata: str) -> Table:
    """Return a table as of a metadata file.

    Where the catalog vends the keys of the store, it must be asked, and the table may be newer.
    """
    if not settings.catalog.has_lock:
        return load_table(open_catalog(settings), contract)
    table = StaticTable.from_metadata(metadata, settings.catalog.pyiceberg_properties())
    if problem := contract_problem(shape_of(table), contract):
        raise OhlcvError(problem)
    return table


def load_any_table(catalog: Catalog, contract: TableContract) -> Table:
    """Return a table, which may differ from its contract. Errors are one line."""
    try:
        return catalog.load_table(contract.identifier)
    except NoSuchTableError:
        raise MissingTableError(missing_table_problem(contract)) from None
    except FileNotFoundError as error:
        raise UnusableMetadataError(
            f"the metadata file of {contract} is missing ({error}): "
            "run 'ohlcv tables relocate' if the home was copied or moved, check OHLCV_WAREHOUSE, or restore it from a "
            f"backup or by 'ohlcv tables restore {contract}' (see Damaged files in docs/runbook.md)",
            "is missing",
        ) from None
    except catalog_errors():
        raise
    except (ValidationError, ValueError, ArrowException) as error:
        cause = str(error).strip().splitlines()[0]
        raise UnusableMetadataError(
            f"the catalog's entry of {contract} does not name a metadata file ({cause}): restore the "
            f"catalog from a backup, run 'ohlcv tables restore {contract}', or see Damaged files in docs/runbook.md",
            f"is not a metadata file ({cause})",
        ) from None
    except OSError as error:
        # An error of the object store.
        cause = str(error).strip().splitlines()[0]
        raise OhlcvError(f"{contract} cannot be read ({cause}): see 'ohlcv doctor'") from None


def load_table_to_write(settings: Settings, contract: TableContract, catalog: Catalog | None = None) -> Table:
    """Return a table. Raise OhlcvError also if it is stored outside the warehouse: it may belong to another home."""
    if not contract.mapping.is_default:
        raise InputError(
            f"{contract} has a mapping (OHLCV_TRADES_MAPPING), so it is only read: add trades with its own writer"
        )
    table = load_table(catalog or open_catalog(settings), contract)
    check_location(settings, table)
    if not settings.catalog.has_lock and table.current_snapshot() is None:
        raise OhlcvError(missing_snapshot_problem(contract))
    if problem := find_time_problem(table, str(contract)):
        raise OhlcvError(problem)
    return table


def check_location(settings: Settings, table: Table) -> None:
    """Raise OhlcvError if a table is stored outside the warehouse, unless the service of the catalog decides."""
    if settings.catalog.decides_locations:
        return
    if problem := find_location_problem(".".join(table.name()), table.location(), settings.warehouse):
        raise OhlcvError(problem)


def check_locations(settings: Settings) -> None:
    """Raise OhlcvError if a table of the catalog is stored outside the warehouse."""
    catalog = open_catalog(settings)
    known = existing_tables(catalog, settings.names)
    for contract in settings.contracts():
        if contract.identifier in known and contract.mapping.is_default:
            check_location(settings, load_any_table(catalog, contract))


def existing_tables(catalog: Catalog, names: TableNames) -> set[Identifier]:
    """Return the tables in the namespaces of our tables; reads no metadata file, unlike table_exists()."""
    found: set[Identifier] = set()
    for namespace in names.namespaces:
        with contextlib.suppress(NoSuchNamespaceError):
            found.update(catalog.list_tables(namespace))
    return found


def metadata_locations(catalog: Catalog, names: TableNames) -> dict[Identifier, str] | None:
    """Return the metadata file of each table, from one query; None if the catalog is a REST service."""
    sql = as_sql(catalog)
    if sql is None:
        return None
    from pyiceberg.catalog.sql import IcebergTables
    from sqlalchemy import select

    namespaces = {dotted(namespace): namespace for namespace in names.namespaces}
    query = select(IcebergTables.table_namespace, IcebergTables.table_name, IcebergTables.metadata_location).where(
        IcebergTables.catalog_name == sql.name, IcebergTables.table_namespace.in_(namespaces)
    )
    with sql.engine.connect() as connection:
        return {
            (*namespaces[namespace], name): location or "" for namespace, name, location in connection.execute(query)
        }


def shape_of(table: Table) -> TableShape:
    """Return the columns, partitions and format version of a table in the notation of the contract."""
    schema = table.schema()
    return TableShape(
        columns=tuple((field.name, str(field.field_type)) for field in schema.fields),
        partitions=tuple(
            f"{field.transform}({schema.find_column_name(field.source_id)})" for field in table.spec().fields
        ),
        format_version=table.format_version,
    )


class CreatedTables(NamedTuple):
    """Full names of the tables that `create_tables` created and of those that existed."""

    created: list[str]
    existing: list[str]


def create_tables(settings: Settings) -> CreatedTables:
    """Create the missing tables. Check existing tables against their contract and do not change them."""
    if not embedded_catalog_exists(settings):
        check_warehouse(settings)
    catalog = open_catalog(settings)
    result = CreatedTables([], [])
    known = existing_tables(catalog, settings.names)
    for contract in settings.contracts():
        if not contract.mapping.is_default:
            load_table(catalog, contract)
            result.existing.append(str(contract))
        elif contract.identifier in known:
            check_location(settings, load_table(catalog, contract))
            result.existing.append(str(contract))
    missing = [contract for contract in settings.contracts() if str(contract) not in result.existing]
    check_no_files(settings, missing)
    if missing:
        check_writable(settings)
        check_warehouse(settings)
    for contract in missing:
        create_namespace(catalog, contract.namespace)
        schema = iceberg_schema(contract)
        try:
            table = catalog.create_table(
                contract.identifier,
                schema=schema,
                location=None if settings.catalog.decides_locations else table_folder(settings, contract.identifier),
                partition_spec=iceberg_partitions(contract, schema),
                properties=dict(contract.properties),  # pyiceberg removes entries from this dict
            )
        except TableAlreadyExistsError:
            load_table(catalog, contract)
            result.existing.append(str(contract))
        else:
            if not settings.catalog.has_lock:
                # Not in one commit with the table: Nessie does not support this. Until then nothing is written
                # (see `missing_snapshot_problem`).
                table.append(table.schema().as_arrow().empty_table())
            result.created.append(str(contract))
    return result


def widen_volume(settings: Settings, contract: TableContract) -> bool:
    """Change the volume column to the widest decimal type. Return False if it already has that type."""
    table = load_table_to_write(settings, contract)
    wide = ICEBERG_TYPES[contract.widened["volume"]]
    if table.schema().find_field("volume").field_type == wide:
        return False
    check_writable(settings)
    with table.update_schema() as update:
        update.update_column("volume", field_type=wide)
    return True


def extend(settings: Settings, contract: TableContract) -> None:
    """Add the columns of the extension in one commit. Raise InputError if the table already has them."""
    table = load_table_to_write(settings, contract)
    if contract.is_extended(table.schema().column_names):
        raise InputError(f"{contract} already has measures: nothing to extend")
    check_writable(settings)
    with table.update_schema() as update:
        for column in contract.extension:
            update.add_column(column.name, ICEBERG_TYPES[column.type])


def embedded_catalog_exists(settings: Settings) -> bool:
    """Return whether the settings name an embedded catalog that exists."""
    database = settings.catalog.embedded_database
    return database is not None and os.path.exists(database)


def check_writable(settings: Settings) -> None:
    """Raise InputError if the embedded catalog or a local warehouse cannot be written."""
    problem = find_catalog_problem(settings)
    if problem is None and settings.warehouse.startswith("file:"):
        problem = find_warehouse_problem(settings)
    if problem is not None:
        raise InputError(problem)


def check_warehouse(settings: Settings) -> None:
    """Raise OhlcvError if the warehouse cannot be written. Create it if it is a local folder."""
    parts = urlsplit(settings.warehouse)
    if parts.scheme == "file":
        create_folder(Path(parts.path), _WAREHOUSE)
    elif problem := find_store_problem(settings):
        raise OhlcvError(problem)


def find_warehouse_problem(settings: Settings) -> str | None:
    """Return one line that says why the warehouse cannot be written and what to do, or None if it can."""
    parts = urlsplit(settings.warehouse)
    if parts.scheme != "file":
        return find_store_problem(settings)
    return find_folder_problem(existing_folder(Path(parts.path)), _WAREHOUSE)


def find_catalog_problem(settings: Settings) -> str | None:
    """Return one line that says why the embedded catalog cannot be written and what to do, or None if it can."""
    database = settings.catalog.embedded_database
    return None if database is None else sqlite_catalog.find_write_problem(Path(database))


def hours_filter(hours: Iterable[int]) -> str:
    """Return the pyiceberg row filter that selects the partitions of these hours."""
    return row_filter(partition_blocks(hours))


def row_filter(blocks: Iterable[PartitionBlock]) -> str:
    """Return the pyiceberg row filter that selects these partitions."""
    return partition_predicate(blocks, lambda day: f"'{day}'")
