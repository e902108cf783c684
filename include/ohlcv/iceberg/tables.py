"""The tables by pyiceberg, without a JVM: open, create, check, widen.

The Spark jobs do not import this module: loading pyiceberg costs them three seconds of processor time.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import (
    ForbiddenError,
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    OAuthError,
    RESTError,
    TableAlreadyExistsError,
    UnauthorizedError,
)
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform, IdentityTransform, MonthTransform, Transform
from pyiceberg.types import (
    DateType,
    DecimalType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    TimestamptzType,
)
from requests import RequestException
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from ohlcv.config.catalog_properties import CATALOG_NAME, pyiceberg_properties
from ohlcv.config.settings import Settings
from ohlcv.iceberg.object_store import find_store_problem
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.source_hours import PartitionBlock, partition_blocks, partition_predicate
from ohlcv.model.table_contracts import NAMESPACE, TableContract, TableShape, contract_differences, contracts

# What a catalog raises that is down or refuses us: its database's, or a REST service's.
CATALOG_ERRORS = (SQLAlchemyError, RESTError, RequestException)

_WAREHOUSE = "the warehouse (OHLCV_WAREHOUSE)"

_TYPES: dict[str, IcebergType] = {
    "string": StringType(),
    "long": LongType(),
    "int": IntegerType(),
    "date": DateType(),
    "timestamptz": TimestamptzType(),
    "decimal(18, 8)": DecimalType(18, 8),
    "decimal(38, 8)": DecimalType(38, 8),
}
_TRANSFORMS: dict[str, Transform[Any, Any]] = {
    "identity": IdentityTransform(),
    "day": DayTransform(),
    "month": MonthTransform(),
}


def open_catalog(settings: Settings) -> Catalog:
    """Open the catalog, making the embedded one's folder on first use."""
    if settings.catalog.engine == "sqlite":
        _make_folder(Path(settings.catalog.database).parent, "the catalog's folder")
    # Two first users may both make SQLite's tables; the one that comes second finds them made.
    for attempt in range(3):
        try:
            return load_catalog(CATALOG_NAME, **pyiceberg_properties(settings))
        except CATALOG_ERRORS as error:
            if "already exists" in str(error) and attempt < 2:
                time.sleep(0.1)
                continue
            raise OhlcvError(describe_catalog_error(settings, error)) from error
    raise AssertionError("unreachable")


def describe_catalog_error(settings: Settings, error: Exception) -> str:
    """Say which catalog does not answer, and why, in one line without its password."""
    cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    if isinstance(error, (UnauthorizedError, ForbiddenError, OAuthError)):
        return f"the catalog {settings.catalog} refuses us ({cause}): check OHLCV_CATALOG_TOKEN"
    if "password" in cause:
        return f"the catalog {settings.catalog} refuses us ({cause}): check OHLCV_CATALOG_PASSWORD"
    if isinstance(error, RESTError):
        where = "OHLCV_CATALOG_URI and OHLCV_WAREHOUSE"
        return f"the catalog {settings.catalog} answers with an error ({cause}): check {where}"
    return f"the catalog {settings.catalog} does not answer ({cause}): check OHLCV_CATALOG_URI"


def load_table(catalog: Catalog, contract: TableContract) -> Table:
    """Load a table and hold it against its contract."""
    try:
        table = catalog.load_table((NAMESPACE, contract.name))
    except NoSuchTableError:
        raise OhlcvError(f"there is no table {NAMESPACE}.{contract.name}: run 'ohlcv tables create'") from None
    except FileNotFoundError as error:
        raise OhlcvError(
            f"the catalog knows {NAMESPACE}.{contract.name}, but its metadata is gone ({error}): check OHLCV_WAREHOUSE"
        ) from None
    except CATALOG_ERRORS:
        raise
    except OSError as error:
        # Of the store, where the files are in one.
        first = str(error).strip().splitlines()[0]
        raise OhlcvError(f"{NAMESPACE}.{contract.name} cannot be read ({first}): see 'ohlcv doctor'") from None
    if differences := contract_differences(shape_of(table), contract):
        raise OhlcvError(f"{NAMESPACE}.{contract.name} is not as agreed: {'; '.join(differences)}")
    return table


def shape_of(table: Table) -> TableShape:
    """Describe a table in the contract's words."""
    schema = table.schema()
    return TableShape(
        columns=tuple((field.name, str(field.field_type)) for field in schema.fields),
        partitions=tuple(
            f"{field.transform}({schema.find_column_name(field.source_id)})" for field in table.spec().fields
        ),
        format_version=table.format_version,
    )


class CreatedTables(NamedTuple):
    """Which tables `create_tables` made and which were there."""

    made: list[str]
    found: list[str]


def create_tables(settings: Settings) -> CreatedTables:
    """Create the tables that are missing; those that exist are checked and left alone."""
    check_warehouse(settings)
    catalog = open_catalog(settings)
    with contextlib.suppress(NamespaceAlreadyExistsError):
        catalog.create_namespace(NAMESPACE)
    result = CreatedTables([], [])
    for contract in contracts():
        if catalog.table_exists((NAMESPACE, contract.name)):
            load_table(catalog, contract)
            result.found.append(contract.name)
            continue
        schema = _iceberg_schema(contract)
        try:
            catalog.create_table(
                (NAMESPACE, contract.name),
                schema=schema,
                partition_spec=_iceberg_partitions(contract, schema),
                properties=dict(contract.properties),  # pyiceberg takes entries out of what it is given
            )
        except TableAlreadyExistsError:
            load_table(catalog, contract)
            result.found.append(contract.name)
        else:
            result.made.append(contract.name)
    return result


def view_exists(settings: Settings, name: str) -> bool:
    """Tell whether the catalog holds a view; pyiceberg's SQL catalog knows of them, but cannot be asked."""
    catalog = open_catalog(settings)
    if not isinstance(catalog, SqlCatalog):
        return catalog.view_exists((NAMESPACE, name))
    query = select(IcebergTables.table_name).where(
        IcebergTables.catalog_name == CATALOG_NAME,
        IcebergTables.table_namespace == NAMESPACE,
        IcebergTables.table_name == name,
        IcebergTables.iceberg_type == "VIEW",
    )
    with catalog.engine.connect() as connection:
        return connection.execute(query).first() is not None


def widen_volume(settings: Settings, contract: TableContract) -> bool:
    """Give a candle table's volume all the digits Iceberg has; tell whether it had fewer."""
    table = load_table(open_catalog(settings), contract)
    wide = _TYPES[contract.widened["volume"]]
    if table.schema().find_field("volume").field_type == wide:
        return False
    with table.update_schema() as update:
        update.update_column("volume", field_type=wide)
    return True


def check_warehouse(settings: Settings) -> None:
    """Fail early, with the cure, where the warehouse cannot be written; make it where it is a folder."""
    parts = urlsplit(settings.warehouse)
    if parts.scheme == "file":
        _make_folder(Path(parts.path), _WAREHOUSE)
    elif problem := find_store_problem(settings):
        raise OhlcvError(problem)


def find_warehouse_problem(settings: Settings) -> str | None:
    """Say in one line what keeps the warehouse from being written, and the cure; None where nothing does."""
    parts = urlsplit(settings.warehouse)
    if parts.scheme != "file":
        return find_store_problem(settings)
    # What is not there yet is made on first use, in the nearest folder that is.
    folder = next(each for each in (Path(parts.path), *Path(parts.path).parents) if each.exists())
    return _not_writable(folder, _WAREHOUSE)


def _make_folder(folder: Path, role: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(_refused(folder, role, error)) from None
    if problem := _not_writable(folder, role):
        raise InputError(problem)


def _not_writable(folder: Path, role: str) -> str | None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return _refused(folder, role, error)


def _refused(folder: Path, role: str, error: OSError) -> str:
    return f"{role} {folder} is not writable ({error.strerror}): choose another or grant access"


def _iceberg_schema(contract: TableContract) -> Schema:
    # pyiceberg numbers the fields of a new table itself; these numbers only have to be distinct.
    numbers = iter(range(1, 100))
    fields = []
    for column in contract.columns:
        number = next(numbers)
        kind: IcebergType
        if column.type == "list<string>":
            kind = ListType(element_id=next(numbers), element_type=StringType(), element_required=False)
        elif column.type == "map<string, string>":
            kind = MapType(
                key_id=next(numbers),
                key_type=StringType(),
                value_id=next(numbers),
                value_type=StringType(),
                value_required=False,
            )
        else:
            kind = _TYPES[column.type]
        fields.append(NestedField(number, column.name, kind, required=False))
    return Schema(*fields)


def _iceberg_partitions(contract: TableContract, schema: Schema) -> PartitionSpec:
    return PartitionSpec(
        *(
            PartitionField(
                source_id=schema.find_field(partition.column).field_id,
                field_id=1000 + index,
                transform=_TRANSFORMS[partition.transform],
                # Iceberg's own naming, so that tables made by Spark SQL look the same.
                name=partition.column
                if partition.transform == "identity"
                else f"{partition.column}_{partition.transform}",
            )
            for index, partition in enumerate(contract.partitions)
        )
    )


def hours_filter(hours: Iterable[int]) -> str:
    """Return the row filter of pyiceberg that selects the partitions of those hours."""
    return row_filter(partition_blocks(hours))


def row_filter(blocks: Iterable[PartitionBlock]) -> str:
    """Return the row filter of pyiceberg that selects those partitions."""
    return partition_predicate(blocks, lambda day: f"'{day}'")
