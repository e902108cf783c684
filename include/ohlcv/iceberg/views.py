"""State of the views over all timeframes, without a Spark session, which takes seconds to start."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any, Literal

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchViewError
from pyiceberg.io.pyarrow import PyArrowFileIO

from ohlcv.config.settings import Settings
from ohlcv.iceberg.catalog_errors import described_catalog_errors
from ohlcv.iceberg.file_io import name_unreadable
from ohlcv.iceberg.tables import as_sql, load_table, open_catalog
from ohlcv.model.table_names import Identifier, dotted
from ohlcv.model.views import view_statements

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog

# outdated: its query is not that of the enabled tables and their columns. unknown: pyiceberg cannot read the views of
# this catalog, so only the job of the views finds out.
ViewState = Literal["missing", "outdated", "current", "unknown"]

_GZIP = b"\x1f\x8b"


def extended_timeframes(settings: Settings, catalog: Catalog) -> list[str]:
    """Return the enabled timeframes whose tables have measures."""
    contracts = {timeframe.name: settings.candles_contract(timeframe) for timeframe in settings.timeframes.values()}
    return [
        name
        for name, contract in contracts.items()
        if contract.is_extended(load_table(catalog, contract).schema().column_names)
    ]


def view_states(settings: Settings) -> dict[Identifier, ViewState]:
    """Return the state of each view. Raise OhlcvError if a table of the views is missing."""
    with described_catalog_errors(settings):
        catalog = open_catalog(settings)
        extended = extended_timeframes(settings, catalog)
        statements = view_statements(settings.catalog.name, settings.names, settings.timeframes, extended)
        return {view: _state(catalog, view, select) for view, select in statements.items()}


def are_views_current(settings: Settings) -> bool:
    """Return whether all views exist with the query of the enabled tables."""
    return set(view_states(settings).values()) == {"current"}


def _state(catalog: Catalog, view: Identifier, select: str) -> ViewState:
    try:
        stored = _stored_query(catalog, view)
    except NoSuchViewError:
        return "missing"
    except NotImplementedError:
        return "unknown"
    return "current" if stored == select else "outdated"


def _stored_query(catalog: Catalog, view: Identifier) -> str | None:
    """Return the query of a view in Spark SQL, None if it has none. Raise NoSuchViewError if there is no such view."""
    if sql := as_sql(catalog):
        metadata = _read_metadata(sql, view)
    else:
        metadata = catalog.load_view(view).metadata.model_dump(by_alias=True)
    [current] = [each for each in metadata["versions"] if each["version-id"] == metadata["current-version-id"]]
    queries = [each["sql"] for each in current["representations"] if each.get("dialect") == "spark"]
    return queries[0] if queries else None


def _read_metadata(catalog: SqlCatalog, view: Identifier) -> dict[str, Any]:
    """Return the metadata of a view. pyiceberg does not implement views for its SQL catalog."""
    location = _metadata_location(catalog, view)
    # Not the catalog's own access to files, which checks that a metadata file is that of a table.
    with name_unreadable(location), PyArrowFileIO(catalog.properties).new_input(location).open() as stream:
        content = stream.read()
        metadata: dict[str, Any] = json.loads(gzip.decompress(content) if content.startswith(_GZIP) else content)
    return metadata


def _metadata_location(catalog: SqlCatalog, view: Identifier) -> str:
    from pyiceberg.catalog.sql import IcebergTables
    from sqlalchemy import select

    query = select(IcebergTables.metadata_location).where(
        IcebergTables.catalog_name == catalog.name,
        IcebergTables.table_namespace == dotted(view[:-1]),
        IcebergTables.table_name == view[-1],
        IcebergTables.iceberg_type == "VIEW",
    )
    with catalog.engine.connect() as connection:
        row = connection.execute(query).first()
    if row is None:
        raise NoSuchViewError(dotted(view))
    return str(row[0])
