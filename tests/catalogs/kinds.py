"""Kinds of catalogs on real servers: an empty catalog of each kind, its settings, and what it can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ohlcv.demo.local_postgres import PostgresServer, postgres_server
from support.catalog_servers.certificates import PrivateAuthority, private_authority
from support.catalog_servers.expiring_store import ExpiringStore, expiring_store
from support.catalog_servers.gateway import Gateway, rest_gateway
from support.catalog_servers.hive import HiveServer, hive_server
from support.catalog_servers.iceberg_rest import IcebergRestServer, iceberg_rest_server
from support.catalog_servers.issuer import Issuer, oidc_issuer
from support.catalog_servers.moto import MotoServer, moto_server
from support.catalog_servers.thrift_proxy import ThriftProxy, thrift_proxy
from support.catalog_servers.vended_keys import UserKeys
from support.databases import catalog_environment, new_database
from support.stores import REGION, ObjectStore, RestCatalog, object_store, rest_catalog

# Name of the catalogs in pyiceberg's configuration.
NAME = "lakehouse"
# The server of the Glue API accepts every key, but the clients need one.
GLUE_KEYS = {"AWS_ACCESS_KEY_ID": "anybody", "AWS_SECRET_ACCESS_KEY": "anything"}


@dataclass(frozen=True)
class Features:
    """What a kind of catalog can do."""

    # Writers exclude each other by a lock. Otherwise by Iceberg's check at the commit.
    has_lock: bool = False
    # The catalog shows all snapshots of a table.
    shows_history: bool = True
    has_views: bool = True
    # The tables are in an object store with keys in the settings.
    has_store_keys: bool = True


@dataclass(frozen=True)
class EmptyCatalog:
    """Settings of an empty catalog, and how a test lets the reply to its next commit be lost."""

    environment: dict[str, str]
    # The argument is the name of the table. None: the reply cannot be lost, or tests/crash_recovery loses it.
    lose_reply: Callable[[str], None] | None = None
    # Number of replies that were lost.
    lost: Callable[[], int] = lambda: 0


class Servers:
    """Servers of the session. Each starts when a test first needs it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack

    @cached_property
    def store(self) -> ObjectStore:
        return self._stack.enter_context(object_store(self._folder / "s3"))

    @cached_property
    def postgres(self) -> PostgresServer:
        return self._stack.enter_context(postgres_server(self._folder / "postgres", volatile=True))

    @cached_property
    def issuer(self) -> Issuer:
        return self._stack.enter_context(oidc_issuer())

    @cached_property
    def nessie(self) -> RestCatalog:
        return self._stack.enter_context(rest_catalog(self._folder / "nessie", self.store, self.issuer))

    @cached_property
    def nessie_gateway(self) -> Gateway:
        return self._stack.enter_context(rest_gateway(self.nessie.address))

    @cached_property
    def rest(self) -> IcebergRestServer:
        return self._stack.enter_context(iceberg_rest_server(self._folder / "rest", self.store))

    @cached_property
    def rest_gateway(self) -> Gateway:
        vendor = UserKeys(self.store)
        return self._stack.enter_context(rest_gateway(self.rest.address, issuer=self.issuer, vendor=vendor))

    @cached_property
    def authority(self) -> PrivateAuthority:
        return private_authority(self._folder / "authority")

    @cached_property
    def tls_gateway(self) -> Gateway:
        vendor, tls = UserKeys(self.store), self.authority.server
        return self._stack.enter_context(rest_gateway(self.rest.address, issuer=self.issuer, vendor=vendor, tls=tls))

    @cached_property
    def glue(self) -> MotoServer:
        return self._stack.enter_context(moto_server(self._folder / "glue"))

    @cached_property
    def glue_gateway(self) -> Gateway:
        return self._stack.enter_context(rest_gateway(self.glue.address))

    @cached_property
    def expiring_store(self) -> ExpiringStore:
        return self._stack.enter_context(expiring_store(self._folder / "expiring-store"))

    @cached_property
    def vending_rest(self) -> IcebergRestServer:
        return self._stack.enter_context(iceberg_rest_server(self._folder / "vending-rest", self.expiring_store))

    @cached_property
    def hive(self) -> HiveServer:
        return self._stack.enter_context(hive_server(self._folder / "hive"))

    @cached_property
    def hive_proxy(self) -> ThriftProxy:
        return self._stack.enter_context(thrift_proxy(self.hive.port))


def configuration(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a catalog with these properties of pyiceberg."""
    names = {key.replace(".", "__").replace("-", "_").upper(): value for key, value in properties.items()}
    return {"OHLCV_CATALOG": NAME, **{f"PYICEBERG_CATALOG__{NAME.upper()}__{key}": names[key] for key in names}}


def store_properties(store: ObjectStore) -> dict[str, str]:
    return {
        "s3.endpoint": store.endpoint,
        "s3.region": REGION,
        "s3.access-key-id": store.access_key,
        "s3.secret-access-key": store.secret_key,
    }


def login_properties(issuer: Issuer, scope: str) -> dict[str, str]:
    return {
        "credential": issuer.new_client(),
        "oauth2-server-uri": issuer.token_address,
        "scope": scope,
    }


def _sqlite(servers: Servers) -> EmptyCatalog:
    return EmptyCatalog({})


def _postgresql(servers: Servers) -> EmptyCatalog:
    store, server = servers.store, servers.postgres
    warehouse = {"OHLCV_WAREHOUSE": f"s3://{store.new_bucket()}/candles", **store.environment}
    return EmptyCatalog({**catalog_environment(server, new_database(server)), **warehouse})


def _nessie(servers: Servers) -> EmptyCatalog:
    nessie, gateway = servers.nessie, servers.nessie_gateway
    properties = {
        "type": "rest",
        "uri": f"{gateway.address}/iceberg/{nessie.new_branch_name()}",
        "warehouse": "candles",
        **login_properties(servers.issuer, "catalog sign"),
        **store_properties(servers.store),
    }
    return EmptyCatalog(configuration(properties), _http_commit(gateway), lambda: len(gateway.dropped))


def _rest(servers: Servers) -> EmptyCatalog:
    servers.rest.clear()
    gateway = servers.rest_gateway
    properties = {
        "type": "rest",
        "uri": gateway.address,
        **login_properties(servers.issuer, "catalog"),
    }
    return EmptyCatalog(configuration(properties), _http_commit(gateway), lambda: len(gateway.dropped))


def _glue(servers: Servers) -> EmptyCatalog:
    servers.glue.clear()
    gateway, store = servers.glue_gateway, servers.store
    properties = {
        "type": "glue",
        "warehouse": f"s3://{store.new_bucket()}/candles",
        "glue.endpoint": gateway.address,
        "glue.region": REGION,
        **store_properties(store),
    }
    return EmptyCatalog(
        {**configuration(properties), **GLUE_KEYS},
        lambda table: gateway.drop_next("/", None, "AWSGlue.UpdateTable"),
        lambda: len(gateway.dropped),
    )


def _hive(servers: Servers) -> EmptyCatalog:
    servers.hive.clear()
    proxy = servers.hive_proxy
    properties = {"type": "hive", "uri": proxy.address, "hive.hive2-compatible": "true"}
    return EmptyCatalog(
        configuration(properties),
        lambda table: proxy.drop_next("alter_table"),
        lambda: proxy.dropped,
    )


def _http_commit(gateway: Gateway) -> Callable[[str], None]:
    return lambda table: gateway.drop_next(f"/{table}", None)


KINDS: Mapping[str, tuple[Callable[[Servers], EmptyCatalog], Features]] = {
    "sqlite and files": (_sqlite, Features(has_lock=True, has_store_keys=False)),
    "postgresql and s3": (_postgresql, Features(has_lock=True)),
    "nessie and s3": (_nessie, Features(shows_history=False)),
    "rest and s3": (_rest, Features(has_store_keys=False)),
    "glue and s3": (_glue, Features(has_views=False)),
    "hive and files": (_hive, Features(has_store_keys=False)),
}
