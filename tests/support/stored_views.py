"""Views as Spark stores them in a SQLite catalog, written without Spark."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from pyiceberg.catalog.sql import IcebergTables
from sqlalchemy import insert
from sqlalchemy.orm import Session

from ohlcv.config.locations import to_local_path
from ohlcv.config.settings import Settings
from ohlcv.iceberg.registration import table_folder
from ohlcv.iceberg.tables import as_sql, open_catalog
from ohlcv.iceberg.views import extended_timeframes
from ohlcv.model.table_names import Identifier, dotted
from ohlcv.model.views import view_statements


def store_views(settings: Settings) -> list[Path]:
    """Store the views over the tables as they are now, and return their metadata files."""
    extended = extended_timeframes(settings, open_catalog(settings))
    statements = view_statements(settings.catalog.name, settings.names, settings.timeframes, extended)
    return [store_view(settings, view, select) for view, select in statements.items()]


def store_view(settings: Settings, view: Identifier, select: str) -> Path:
    """Store a view with this query as its second version, and return its metadata file."""
    location = table_folder(settings, view)
    versions = [
        {"version-id": number, "representations": [{"type": "sql", "sql": query, "dialect": "spark"}]}
        for number, query in ((1, "SELECT 1 AS first"), (2, select))
    ]
    metadata = {"view-uuid": view[-1], "location": location, "current-version-id": 2, "versions": versions}
    pointer = f"{location}/metadata/00001-{view[-1]}.gz.metadata.json"
    path = Path(to_local_path(pointer) or "")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps(metadata).encode()))
    catalog = as_sql(open_catalog(settings))
    assert catalog is not None
    with Session(catalog.engine) as session, session.begin():
        session.execute(
            insert(IcebergTables).values(
                catalog_name=catalog.name,
                table_namespace=dotted(view[:-1]),
                table_name=view[-1],
                metadata_location=pointer,
                iceberg_type="VIEW",
            )
        )
    return path
