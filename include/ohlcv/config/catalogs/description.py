"""Description of a catalog: its name and the properties that Iceberg users write."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

# The name of the catalog of the OHLCV_CATALOG_… settings. Rows of SQL catalogs have it in their primary key.
DEFAULT_NAME = "iceberg"


class Locking(Enum):
    """How writers of one table exclude each other."""

    # A lock beside the catalog's file.
    FILE_LOCK = "file lock"
    # An advisory lock of a session of the catalog's database.
    ADVISORY_LOCK = "advisory lock"
    # No lock: Iceberg checks at the commit that nobody changed the same rows. This needs a catalog that never reports a
    # successful commit as failed. Iceberg's JDBC catalog does so if a reply is lost, and then deletes live files.
    SERVER_CHECK = "server check"


class Locations(Enum):
    """Who decides where tables are stored."""

    # A table is in the folder of its name in the warehouse.
    WAREHOUSE = "warehouse"
    # The service of the catalog.
    SERVICE = "service"


@dataclass(frozen=True)
class CatalogDescription:
    """Name and properties of a catalog, and the setting that each property comes from."""

    name: str
    # In pyiceberg's notation, all flat. They contain secrets.
    properties: Mapping[str, str] = dataclasses.field(repr=False)
    # Property -> setting. Properties of pyiceberg's configuration have no setting of their own.
    setting_names: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    # The environment variables with which another process gets the same description. They contain secrets.
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)

    def setting(self, key: str) -> str:
        """Return the name of a property for a message that says what to correct."""
        return self.setting_names.get(key) or f"'{key}' of the catalog {self.name}"
