"""Catalogs by kind: the properties of both clients, the locking, the locations and what a container needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, ClassVar
from urllib.parse import urlsplit

from ohlcv.config.catalogs.description import CatalogDescription, Locations, Locking
from ohlcv.config.catalogs.rest_properties import TOKEN_PATH
from ohlcv.config.catalogs.secrets import secret_values, without_secrets
from ohlcv.config.catalogs.sql_address import PostgresqlAddress, postgresql_address, sqlite_path
from ohlcv.config.catalogs.translation import nested, translate
from ohlcv.config.storage import AZURE_SCHEMES, S3Store
from ohlcv.config.values import redacted

# SQLite allows one writer at a time. Other writers wait up to this time.
SQLITE_WAIT_SECONDS = 60
# The access of pyiceberg to files: by pyarrow, with a check of metadata files.
PYICEBERG_FILES = "ohlcv.iceberg.file_io.CheckingFileIO"
# The access of Spark to an S3 store.
SPARK_FILES = "org.apache.iceberg.aws.s3.S3FileIO"
# Variables from which all clients of AWS take credentials and region. Files and instance roles need none.
AWS_VARIABLES = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"),
)
_SQL_TYPE = {"pyiceberg.type": "sql", "spark.type": "jdbc", "spark.jdbc.schema-version": "V1"}
# Scheme of a location -> jar set.
_JAR_SETS = {"s3": "aws", "gs": "gcp", **dict.fromkeys(AZURE_SCHEMES, "azure")}
_AWS_LOGIN = "the credentials of AWS (AWS_ACCESS_KEY_ID, AWS_PROFILE or the role of the machine)"
_STORE_KEYS = ("s3.access-key-id", "s3.secret-access-key")
_DELEGATION = "header.X-Iceberg-Access-Delegation"


@dataclass(frozen=True)
class Catalog:
    """A catalog. Each kind is a subclass."""

    description: CatalogDescription
    # A file:// or s3:// location. If the service of the catalog decides, also a name or empty.
    warehouse: str
    # None if the files are on this machine, or the service of the catalog describes the store.
    store: S3Store | None

    kind: ClassVar[str]
    locking: ClassVar[Locking]
    locations: ClassVar[Locations]
    # Properties that grant the access to the catalog.
    access_keys: ClassVar[tuple[str, ...]] = ()
    # Whether Iceberg's Java library implements views for it.
    has_views: ClassVar[bool] = True
    # Whether namespaces have one level, and names only lower-case letters, digits and _.
    has_plain_names: ClassVar[bool] = False

    def __str__(self) -> str:
        return redacted(self.description.properties.get("uri", "")) or f"{self.kind} catalog {self.name}"

    @property
    def name(self) -> str:
        """Return the name of the catalog in both clients."""
        return self.description.name

    @property
    def embedded_database(self) -> str | None:
        """Return the file of an embedded catalog, None for a service."""
        return None

    @property
    def private_authority(self) -> str | None:
        """Return the file with the certificate of the authority of a service that this machine does not trust."""
        return self.description.properties.get("ssl.cabundle")

    @property
    def has_lock(self) -> bool:
        """Return whether writers use a write lock. If not, they use Iceberg's check at the commit."""
        return self.locking is not Locking.SERVER_CHECK

    @property
    def decides_locations(self) -> bool:
        """Return whether the service of the catalog decides where tables are stored."""
        return self.locations is Locations.SERVICE

    def setting(self, key: str) -> str:
        """Return the name of a property for a message that says what to correct."""
        return self.description.setting(key)

    @property
    def has_aws_login(self) -> bool:
        """Return whether the clients log in with the credentials of AWS."""
        return False

    @property
    def vends_keys(self) -> bool:
        """Return whether the clients request keys of the store from the service of the catalog."""
        return False

    @property
    def access_settings(self) -> str:
        """Return the names of the settings that grant access, for a message."""
        if self.has_aws_login:
            return _AWS_LOGIN
        given = [key for key in self.access_keys if key in self.description.properties]
        return " and ".join(map(self.setting, given or self.access_keys[:1])) or "the properties of the catalog"

    @property
    def store_access(self) -> str:
        """Return what grants access to the object store, for a message."""
        if self.store is None or self.store.access_key is None:
            return _AWS_LOGIN
        return " and ".join(map(self.setting, _STORE_KEYS))

    def pyiceberg_properties(self) -> dict[str, Any]:
        """Return the catalog properties for pyiceberg."""
        return nested(translate("pyiceberg", self._properties))

    def spark_properties(self) -> dict[str, str]:
        """Return the catalog properties for Spark.

        The job reads the settings from its environment and sets the properties on its session, so that no secret is on
        a command line.
        """
        prefix = f"spark.sql.catalog.{self.name}"
        return {
            "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
            prefix: "org.apache.iceberg.spark.SparkCatalog",
            **{f"{prefix}.{name}": value for name, value in translate("spark", self._properties).items()},
        }

    @property
    def _properties(self) -> dict[str, str]:
        given = self.description.properties
        warehouse = {"warehouse": self.warehouse} if self.warehouse else {}
        named = {key.lower() for key in given}
        defaults = {key: value for key, value in self._defaults(given).items() if key.lower() not in named}
        return {**defaults, **given, **warehouse, **self._addresses()}

    def _defaults(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return properties that the description may override."""
        if self.store is None:
            return {"py-io-impl": PYICEBERG_FILES}
        # Virtual-hosted-style addresses need a DNS entry for each bucket, which only AWS provides.
        has_style = {"s3.path-style-access", "s3.force-virtual-addressing"} & given.keys()
        style = {"spark.s3.path-style-access": "true"} if self.store.endpoint and not has_style else {}
        return {"py-io-impl": PYICEBERG_FILES, "io-impl": SPARK_FILES, **style}

    def _addresses(self) -> dict[str, str]:
        """Return the type and the address for each client."""
        return {"type": self.kind}

    @property
    def jar_sets(self) -> set[str]:
        """Return the names of the jar sets that Spark needs."""
        scheme = "s3" if self.store is not None else self.warehouse.partition("://")[0]
        return {_JAR_SETS[scheme]} if scheme in _JAR_SETS else set()

    def folders(self) -> dict[str, bool]:
        """Return the folders and files that a container needs, and whether it only reads them."""
        return {urlsplit(self.warehouse).path: True} if self.warehouse.startswith("file:") else {}

    @cached_property
    def secrets(self) -> list[str]:
        """Return the secrets of the catalog and its store."""
        return secret_values(self.description.properties)

    def without_secrets(self, text: str) -> str:
        """Return a text with the secrets of the catalog and its store replaced."""
        return without_secrets(text, self.secrets)


@dataclass(frozen=True)
class SqliteCatalog(Catalog):
    """Catalog in a SQLite file."""

    kind = "sqlite"
    locking = Locking.FILE_LOCK
    locations = Locations.WAREHOUSE

    def __str__(self) -> str:
        return f"sqlite:///{self.embedded_database}"

    @property
    def embedded_database(self) -> str:
        return sqlite_path(self.setting("uri"), self.description.properties["uri"])

    def _addresses(self) -> dict[str, str]:
        # With write-ahead logging readers are not blocked by a commit.
        wait = f"journal_mode=WAL&busy_timeout={SQLITE_WAIT_SECONDS * 1000}"
        return {
            **_SQL_TYPE,
            "pyiceberg.uri": f"sqlite:///{self.embedded_database}?timeout={SQLITE_WAIT_SECONDS}",
            "spark.uri": f"jdbc:sqlite:{self.embedded_database}?{wait}",
        }

    def folders(self) -> dict[str, bool]:
        # A reader of SQLite in WAL mode writes files beside the database.
        return {str(PurePosixPath(self.embedded_database).parent): False, **super().folders()}


@dataclass(frozen=True)
class PostgresqlCatalog(Catalog):
    """Catalog in a PostgreSQL database."""

    kind = "postgresql"
    locking = Locking.ADVISORY_LOCK
    locations = Locations.WAREHOUSE
    access_keys = ("jdbc.password",)

    def __str__(self) -> str:
        return str(self.address)

    @cached_property
    def address(self) -> PostgresqlAddress:
        given = self.description.properties
        return postgresql_address(self.setting("uri"), given["uri"], given.get("jdbc.password"), with_password=True)

    def _defaults(self, given: Mapping[str, str]) -> dict[str, str]:
        return {
            **super()._defaults(given),
            # A pooler in transaction mode may not know the prepared statements of its clients.
            "spark.jdbc.prepareThreshold": "0",
            # Without a limit a job waits for ever for a server that is gone. The driver repeats a lost commit.
            "spark.jdbc.socketTimeout": "60",
            "spark.jdbc.tcpKeepAlive": "true",
        }

    def _addresses(self) -> dict[str, str]:
        return {
            **_SQL_TYPE,
            "pyiceberg.uri": self.address.for_sqlalchemy,
            "spark.uri": self.address.for_jdbc,
            "spark.jdbc.user": self.address.user,
            "spark.jdbc.password": self.address.password or "",
        }

    @cached_property
    def secrets(self) -> list[str]:
        own = secret_values({"password": self.address.password or ""})
        return [*secret_values(self.description.properties), *own]


@dataclass(frozen=True)
class ServiceCatalog(Catalog):
    """Catalog of a service that decides where tables are stored and reports reliably whether a commit succeeded."""

    locking = Locking.SERVER_CHECK
    locations = Locations.SERVICE


@dataclass(frozen=True)
class RestCatalog(ServiceCatalog):
    """Catalog of an Iceberg REST service.

    A commit that is not confirmed has an unknown state for Iceberg, which then deletes nothing.
    """

    kind = "rest"
    access_keys = ("token", "credential", "rest.auth.basic.password")

    @property
    def has_aws_login(self) -> bool:
        given = self.description.properties
        return given.get("rest.sigv4-enabled", "").lower() == "true" or given.get("rest.auth.type") == "sigv4"

    @property
    def vends_keys(self) -> bool:
        return self.store is None or self.store.access_key is None

    @property
    def store_access(self) -> str:
        return "the keys that the catalog vends, and how long they last" if self.vends_keys else super().store_access

    def _defaults(self, given: Mapping[str, str]) -> dict[str, str]:
        # The service decides about the access to files that no property describes.
        files = super()._defaults(given) if self.store is not None else {}
        # Iceberg's Java library requests no delegation by default, pyiceberg requests vended credentials.
        return {
            **files,
            _DELEGATION: "vended-credentials" if self.vends_keys else "none",
            "s3.remote-signing-enabled": "false",
            # For services that do not list their endpoints, such as Nessie, which supports views. A list takes
            # precedence.
            "view-endpoints-supported": "true",
            **self._token_defaults(given),
        }

    def _token_defaults(self, given: Mapping[str, str]) -> dict[str, str]:
        if "credential" not in given:
            return {}
        return {
            "oauth2-server-uri": given["uri"].rstrip("/") + TOKEN_PATH,
            # By default Spark renews a token by exchanging it, which most issuers do not support.
            "spark.token-exchange-enabled": "false",
        }

    def folders(self) -> dict[str, bool]:
        authority = self.private_authority
        return {**super().folders(), **({authority: True} if authority is not None else {})}


@dataclass(frozen=True)
class GlueCatalog(ServiceCatalog):
    """Catalog of AWS Glue.

    A commit names the version of the table that it replaces. If a repeated request fails because its first attempt
    succeeded, Iceberg looks for the commit before it deletes anything (GlueTableOperations, RetryDetector).
    """

    kind = "glue"
    has_views = False
    has_plain_names = True

    @property
    def has_aws_login(self) -> bool:
        return True

    def __str__(self) -> str:
        return self.description.properties.get("glue.endpoint") or "AWS Glue"

    def _defaults(self, given: Mapping[str, str]) -> dict[str, str]:
        return {"io-impl": SPARK_FILES, **super()._defaults(given)}

    @property
    def jar_sets(self) -> set[str]:
        return {"aws", *super().jar_sets}


@dataclass(frozen=True)
class HiveCatalog(ServiceCatalog):
    """Catalog of a Hive Metastore.

    Iceberg holds a lock of the metastore during a commit, and looks for the commit if its result is unknown
    (HiveTableOperations).
    """

    kind = "hive"
    has_plain_names = True

    @property
    def jar_sets(self) -> set[str]:
        return {"hive", *super().jar_sets}


@dataclass(frozen=True)
class CustomCatalog(ServiceCatalog):
    """Catalog of another implementation, for which the user has stated that the check at the commit is reliable."""

    kind = "custom"

    def _addresses(self) -> dict[str, str]:
        return {}
