"""Check of the whole chain of the catalog, through pyiceberg and through Iceberg's Java library in Spark."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from pyiceberg.catalog import Catalog, MetastoreCatalog
from pyiceberg.catalog.hive import HiveCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import LongType, NestedField
from requests import HTTPError

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import embedded_catalog_exists, open_catalog
from ohlcv.model.catalog_chain import (
    ChainRequest,
    RemainingFilesError,
    StepResult,
    chain_request,
    check_chain,
    drop_scratch,
    new_scratch_name,
)
from ohlcv.model.errors import OhlcvError
from ohlcv.model.table_names import Identifier
from ohlcv.monitoring.catalog_remedies import describe_result
from ohlcv.monitoring.doctor import Check
from ohlcv.spark.spark_submit import LOCAL_MASTER, catalog_check_job, run

# A start of Spark takes 10 s, and each client of a slow service retries for some seconds.
SPARK_SECONDS = 300


class PyicebergClient:
    """The catalog in pyiceberg; implements `ohlcv.model.catalog_chain.CatalogClient`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened: Catalog | None = None

    @property
    def _catalog(self) -> Catalog:
        if self._opened is None:
            self._opened = open_catalog(self._settings)
        return self._opened

    def connect(self) -> None:
        self._opened = open_catalog(self._settings)

    def list_tables(self, namespace: Identifier) -> Sequence[str] | None:
        if not self._catalog.namespace_exists(namespace):
            return None
        return [identifier[-1] for identifier in self._catalog.list_tables(namespace)]

    def create_namespace(self, namespace: Identifier) -> None:
        self._catalog.create_namespace(namespace)

    def drop_namespace(self, namespace: Identifier) -> None:
        if self._catalog.namespace_exists(namespace):
            self._catalog.drop_namespace(namespace)

    def create_table(self, table: Identifier) -> str:
        return self._catalog.create_table(table, Schema(NestedField(1, "id", LongType()))).location()

    def append_row(self, table: Identifier) -> None:
        self._load(table).append(pa.table({"id": pa.array([1], pa.int64())}))

    def read_rows(self, table: Identifier, limit: int) -> int:
        rows: pa.Table = self._load(table).scan(limit=limit).to_arrow()
        return len(rows)

    def snapshots(self, table: Identifier) -> Sequence[int]:
        return [snapshot.snapshot_id for snapshot in self._load(table).snapshots()]

    def roll_back(self, table: Identifier, snapshot: int) -> None:
        self._load(table).manage_snapshots().rollback_to_snapshot(snapshot).commit()

    def deletes_files(self, table: Identifier) -> bool | None:
        try:
            return self._load(table).properties.get("gc.enabled", "true").lower() != "false"
        except NoSuchTableError:
            return None

    def drop_table(self, table: Identifier, purge: bool) -> bool:
        try:
            dropped = self._load(table)
            if purge:
                self._purge(table)
            else:
                self._catalog.drop_table(table)
        except NoSuchTableError:
            return False
        # pyiceberg only logs that it cannot delete a file. A REST service deletes files itself, and later.
        is_checked = purge and self._settings.catalog.kind != "rest"
        if is_checked and dropped.io.new_input(dropped.metadata_location).exists():
            raise RemainingFilesError(f"{dropped.metadata_location} still exists")
        return True

    def _purge(self, table: Identifier) -> None:
        if isinstance(self._catalog, HiveCatalog):
            # pyiceberg refuses a purge in a Hive catalog, although that of its other catalogs works there too.
            MetastoreCatalog.purge_table(self._catalog, table)
        else:
            self._catalog.purge_table(table)

    def error_texts(self, error: Exception) -> list[str]:
        return list(_error_texts(error))

    def _load(self, table: Identifier) -> Table:
        return self._catalog.load_table(table)


def _error_texts(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        cause = getattr(error, "orig", None) or error.__cause__ or error.__context__
        # The first one repeats its cause with a remedy, the second one has only the status of a response.
        if not (isinstance(error, OhlcvError | HTTPError) and (cause is not None or isinstance(error, HTTPError))):
            yield " ".join(f"{type(error).__name__}: {error}".split())
        error = cause


def check_with_pyiceberg(settings: Settings) -> list[Check]:
    """Return the result of each step through pyiceberg."""
    if problem := _find_missing_catalog(settings):
        return [problem]
    request = chain_request(settings.names, settings.timeframes, new_scratch_name())
    return _checks(settings, "pyiceberg", request, check_chain(PyicebergClient(settings), request))


def _find_missing_catalog(settings: Settings) -> Check | None:
    """Return a fault if the embedded catalog does not exist. To open it would create it."""
    if settings.catalog.embedded_database is not None and not embedded_catalog_exists(settings):
        return Check("pyiceberg reach", "fault", f"{settings.catalog} does not exist yet: run 'ohlcv tables create'")
    return None


def is_unreachable(checks: list[Check]) -> bool:
    """Return whether the catalog does not answer."""
    return any(check.name.endswith(" reach") and check.state == "fault" for check in checks)


def check_with_spark(settings: Settings) -> list[Check]:
    """Return the result of each step through Iceberg's Java library, in a Spark job."""
    request = chain_request(settings.names, settings.timeframes, new_scratch_name())
    try:
        done = run(
            catalog_check_job(settings, request.scratch), settings.spark_master or LOCAL_MASTER, seconds=SPARK_SECONDS
        )
        if done.exit_code:
            raise OhlcvError(done.error)
        results = [StepResult(**step) for step in json.loads(done.last_line)["steps"]]
    except OhlcvError as error:
        problem = settings.catalog.without_secrets(" ".join(str(error).split()))
        remains = _checks(settings, "Spark", request, _drop_remains(settings, request))
        return [Check("Spark", "fault", problem), *remains]
    except KeyboardInterrupt:
        _drop_remains(settings, request)
        raise
    return _checks(settings, "Spark", request, results)


def _drop_remains(settings: Settings, request: ChainRequest) -> list[StepResult]:
    """Drop the scratch table of a job that ended early, if it exists."""
    client = PyicebergClient(settings)
    for namespace_exists in (True, False):
        results = drop_scratch(client, request.scratch_table(namespace_exists), namespace_exists)
        if results:
            return results
    return []


def _checks(settings: Settings, client: str, request: ChainRequest, results: list[StepResult]) -> list[Check]:
    location = next((result.found for result in results if result.step == "create" and result.state == "ok"), None)
    if location and ("drop", "ok") in [(result.step, result.state) for result in results]:
        _remove_folders(location, request.scratch)
    return [
        Check(f"{client} {result.step}", result.state, describe_result(settings.catalog, result)) for result in results
    ]


def _remove_folders(location: str, scratch: str) -> None:
    """Remove the empty folders that a purge leaves in a local warehouse: of the table, and of a scratch namespace."""
    parts = urlsplit(location)
    if parts.scheme in ("", "file"):
        path = Path(parts.path)
        for folder in (path, path.parent):
            if scratch in folder.name:
                shutil.rmtree(folder, ignore_errors=True)


CLIENTS = {"pyiceberg": check_with_pyiceberg, "Spark": check_with_spark}
