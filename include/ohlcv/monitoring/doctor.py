"""Diagnostics of settings, set-up, catalog, object store and services, one line per check.

Nothing is changed, except that a probe file is written to the warehouse and removed. A check whose precondition failed
is skipped (without a catalog there are no tables to check), because the failed check reports the cause.
"""

from __future__ import annotations

import os
import re
import socket
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ohlcv.config.catalogs.adapters import PostgresqlCatalog
from ohlcv.config.catalogs.pyiceberg_form import VARIABLES
from ohlcv.config.settings import Settings, load_settings
from ohlcv.config.values import is_port
from ohlcv.iceberg.catalog_errors import described_catalog_errors
from ohlcv.iceberg.damage import check_catalog_file, check_files
from ohlcv.iceberg.tables import (
    check_location,
    find_catalog_problem,
    find_warehouse_problem,
    load_table,
    open_catalog,
)
from ohlcv.iceberg.views import view_states
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.table_names import dotted
from ohlcv.monitoring.airflow_client import AirflowApi
from ohlcv.monitoring.coverage_check import check_coverage
from ohlcv.monitoring.health import workers
from ohlcv.monitoring.http_json import UnusableResponseError, fetch_json
from ohlcv.monitoring.ledger_check import check_ledger
from ohlcv.monitoring.measurements import Finding
from ohlcv.monitoring.native_check import check_native_query, describe_use
from ohlcv.setup import class_data_sharing
from ohlcv.spark.jars import chosen_engines, chosen_jars, chosen_sets, find_jar_problem
from ohlcv.spark.processes import HOST
from ohlcv.spark.spark_submit import check_master, script_folder
from ohlcv.spark.toolchain import ROLES, archive_path, java_home

State = Literal["ok", "warning", "fault", "unused"]

# The demo's web page uses this port if it is free. A deployment sets its port in .env.
DEMO_PORT = 8080
PORT_SETTING = "OHLCV_WEB_PORT"
# Time limit for the web page of a deployment.
PORT_SECONDS = 5
COMPOSE_FILE, ENV_FILE = "docker-compose.yaml", ".env"
# Settings that are validated together: an invalid one makes the others of its group look invalid.
_SETTING_GROUPS = (("OHLCV_CATALOG", "PYICEBERG_", "OHLCV_WAREHOUSE", "OHLCV_S3_"), ("OHLCV_AIRFLOW_",))


@dataclass(frozen=True)
class Check:
    """Result of one check. For a warning and a fault, `found` also says what to do."""

    name: str
    state: State
    found: str


def run_checks(environment: Mapping[str, str], project: Path | None = None) -> Iterator[Check]:
    """Run all checks one after another. `project` is the folder with the files of the deployment."""
    faults = list(settings_faults(environment))
    yield from (Check("settings", "fault", fault) for fault in faults)
    if not faults:
        yield Check("settings", "ok", f"{sum(name.startswith('OHLCV_') for name in environment)} set, all valid")
    yield _run_check("Java", check_java)
    yield from check_jars()
    yield _run_check("archives", check_archives)
    settings = None if faults else load_settings(environment)
    yield check_native(settings)
    yield from check_deployment(project or script_folder().parent, environment)
    if settings is None:
        return
    yield from check_data(settings)
    yield from check_spark(settings)
    yield _run_check("Airflow", lambda: check_airflow(settings))


def _run_check(name: str, check: Callable[[], str | None]) -> Check:
    """Return the result of a function: ok with its text, unused if it returns None, a fault if it raises an error."""
    try:
        found = check()
    except OhlcvError as error:
        return Check(name, "fault", " ".join(str(error).split()))
    return Check(name, "unused", "not set") if found is None else Check(name, "ok", found)


def settings_faults(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a message for every invalid setting. Loading the settings alone stops at the first."""
    remaining = {name: value for name, value in environment.items() if name.startswith(("OHLCV_", *VARIABLES))}
    while True:
        try:
            load_settings(remaining)
        except InputError as error:
            fault = str(error)
            name, remaining = _find_cause(remaining, fault)
            # Some messages name the meaning of a setting, not its variable.
            yield fault if name in fault else f"{name}: {fault}"
        else:
            return


def _find_cause(values: dict[str, str], fault: str) -> tuple[str, dict[str, str]]:
    """Return the setting that causes a fault, and the settings without its group."""
    for name in values:
        group_prefixes = next((group for group in _SETTING_GROUPS if name.startswith(group)), (name,))
        rest = {other: value for other, value in values.items() if not other.startswith(group_prefixes)}
        try:
            load_settings(rest)
        except InputError as error:
            if str(error) == fault:
                continue
        return name, rest
    raise AssertionError("empty settings are valid")


def check_java() -> str:
    """Return the version and the folder of the Java that Spark uses."""
    home = java_home()
    version = re.search(r'^JAVA_VERSION="([^"]+)', _read_text(home / "release"), re.MULTILINE)
    return f"{version[1] if version else 'packaged'} in {home}"


def _read_text(path: Path) -> str:
    try:
        return path.read_text(errors="replace") if path.is_file() else ""
    except OSError:
        return ""


def check_jars() -> Iterator[Check]:
    """Compare every jar with its pinned checksum."""
    jars = chosen_jars()
    faults = [problem for jar in jars if (problem := find_jar_problem(jar))]
    yield from (Check("jars", "fault", fault) for fault in faults)
    if not faults:
        pinned = sum(jar.sha256 is not None for jar in jars)
        share = "all" if pinned == len(jars) else f"{pinned} of them"
        yield Check("jars", "ok", f"{len(jars)}, {share} with the pinned checksum; sets: {', '.join(chosen_sets())}")


def check_archives() -> str:
    """Check that JVMs use the CDS archives: a JVM silently ignores an archive that does not match."""
    if not class_data_sharing.is_current():
        raise OhlcvError("the CDS archives are missing or outdated, so jobs start slower: run 'make setup'")
    counts = {
        (engine, role): class_data_sharing.count_archived_classes(role, engine)
        for engine in chosen_engines()
        for role in ROLES
    }
    if unused := [archive_path(role, engine) for (engine, role), count in counts.items() if not count]:
        raise OhlcvError(
            f"Java loads no class from {' and '.join(map(str, unused))}, so jobs start slower: "
            f"remove {' and '.join(sorted({str(path.parent) for path in unused}))} and run 'make setup'"
        )
    return f"in use: a starting JVM loads {min(counts.values()):,} classes from them"


def check_native(settings: Settings | None) -> Check:
    """Check that native execution works, if it is installed and permitted. Without it jobs run on the JVM."""
    if "native" not in chosen_engines():
        return Check("native", "unused", "the jar set native is not installed")
    if settings is not None and not settings.native:
        return Check("native", "unused", "OHLCV_NATIVE is no")
    try:
        check_native_query()
    except OhlcvError as error:
        return Check("native", "warning", " ".join(str(error).split()))
    use = f"; {describe_use(settings)}" if settings is not None else ""
    return Check("native", "ok", f"a small query was scanned and aggregated natively{use}")


def check_data(settings: Settings) -> Iterator[Check]:
    """Check the catalog, the warehouse and the tables."""
    database = settings.catalog.embedded_database
    exists = database is None or os.path.exists(database)
    if exists:
        catalog = _run_check("catalog", lambda: check_catalog(settings))
    else:
        catalog = Check("catalog", "ok", f"{settings.catalog} is created on first use")
    # Without write permission only commands that write fail.
    unwritable = find_catalog_problem(settings) if catalog.state == "ok" else None
    yield Check("catalog", "fault", unwritable) if unwritable else catalog
    problem = find_warehouse_problem(settings)
    location = settings.warehouse or "the catalog's own"
    yield Check("warehouse", "fault" if problem else "ok", problem or f"{location} is writable")
    if catalog.state == "fault":
        return
    if not exists:
        yield Check("tables", "fault", "there are no tables yet: run 'ohlcv tables create'")
    else:
        tables = _run_check("tables", lambda: check_tables(settings))
        yield tables
        if tables.state == "ok":
            yield check_views(settings)
            yield from check_records(settings, "ledger", check_ledger)
            yield from check_records(settings, "coverage", check_coverage)


def check_views(settings: Settings) -> Check:
    """Check that the views read the enabled timeframes with all their columns."""
    if not settings.catalog.has_views:
        return Check("views", "unused", f"the catalog {settings.catalog} has no views in Iceberg")
    try:
        states = view_states(settings)
    except OhlcvError as error:
        return Check("views", "fault", " ".join(str(error).split()))
    if names := [dotted(view) for view, state in states.items() if state == "outdated"]:
        found = f"{', '.join(names)}: not the enabled timeframes with all their columns: run 'ohlcv tables create'"
        return Check("views", "warning", found)
    if names := [dotted(view) for view, state in states.items() if state != "current"]:
        unknown = "unknown" in states.values()
        found = "pyiceberg cannot read the views of this catalog" if unknown else "no such view"
        return Check("views", "unused", f"{', '.join(names)}: {found}: 'ohlcv tables create' creates and replaces them")
    return Check("views", "ok", f"{', '.join(map(dotted, states))} read {', '.join(settings.timeframes)}")


def check_catalog(settings: Settings) -> str:
    """Check that the catalog answers, that a SQLite file is undamaged, and that a database keeps write locks."""
    if settings.catalog.embedded_database is not None:
        check_catalog_file(settings.catalog.embedded_database)
    open_catalog(settings)
    if isinstance(settings.catalog, PostgresqlCatalog):
        from ohlcv.iceberg.database_lock import check_locks

        check_locks(settings.catalog)
        return f"{settings.catalog} answers and keeps locks"
    return f"{settings.catalog} answers"


def check_tables(settings: Settings) -> str:
    """Compare every table with its contract, read its metadata, and check that its data files are complete."""
    with described_catalog_errors(settings):
        catalog = open_catalog(settings)
        tables = []
        for contract in settings.contracts():
            tables.append(load_table(catalog, contract))
            if contract.mapping.is_default:
                check_location(settings, tables[-1])
        found = [check_files(table) for table in tables]
    checked, total = (sum(counts) for counts in zip(*found, strict=True))
    files = f"{checked:,} of {total:,} data files" if checked < total else f"{total:,} data files"
    return f"{len(found)}, all match their contracts; {files} checked"


def check_records(
    settings: Settings, name: str, find: Callable[[Settings, datetime], Iterator[Finding]]
) -> Iterator[Check]:
    """Check that ledger or coverage are recorded. Candles do not depend on them, so nothing they lack is a fault."""
    try:
        yield from [Check(name, state, found) for state, found in find(settings, datetime.now(UTC))]
    except OhlcvError as error:
        yield Check(name, "fault", " ".join(str(error).split()))


def check_spark(settings: Settings) -> Iterator[Check]:
    """Check that the Spark master answers and has enough workers."""

    def master() -> str | None:
        if settings.spark_master is None:
            return None
        check_master(settings.spark_master)
        return f"the master {settings.spark_master} answers"

    yield _run_check("Spark", master)
    if settings.spark_web is not None:
        found = workers(settings)
        if found.state == "ok":
            yield Check("workers", "ok", found.found)
        else:
            advice = f"start workers (expected: {found.target}), or correct OHLCV_SPARK_WEB"
            yield Check("workers", "fault", f"{found.found}: {advice}")


def check_airflow(settings: Settings) -> str | None:
    """Check that the login to Airflow works and that it has the candle DAGs."""
    if settings.airflow is None:
        return None
    dags = AirflowApi(settings.airflow.url, settings.airflow.user, settings.airflow.password).dags()
    missing = [timeframe.dag_id for timeframe in settings.timeframes.values() if timeframe.dag_id not in dags]
    if missing:
        raise OhlcvError(f"Airflow at {settings.airflow.url} has no DAG {missing[0]}: check its import errors")
    return f"{settings.airflow.url} answers and has the DAGs"


def check_deployment(project: Path, environment: Mapping[str, str]) -> Iterator[Check]:
    """Check the files that `docker compose up` needs, and the port of the web page."""
    if (project / COMPOSE_FILE).exists():
        if (project / ENV_FILE).exists():
            yield Check("compose", "ok", f"{ENV_FILE} exists")
            yield _run_check("port", lambda: check_deployed_port(_read_text(project / ENV_FILE)))
            return
        if environment.get("OHLCV_VALIDATION_RUNTIME") == "docker":
            yield Check("compose", "fault", f"{COMPOSE_FILE} needs a file {ENV_FILE} in its folder: run 'make env'")
        else:
            yield Check("compose", "unused", f"no {ENV_FILE}: run 'make env' before 'docker compose up'")
    free = not _is_taken(DEMO_PORT)
    # The demo finds another port by itself.
    found = "free" if free else "in use: the demo will use another port and print it"
    yield Check("port", "ok", f"{DEMO_PORT} is {found}")


def check_deployed_port(env: str) -> str:
    """Check that the port of the web page is free, or that Airflow uses it."""
    found = re.search(rf"^{PORT_SETTING}=[\"']?(.*?)[\"']?\s*$", env, re.MULTILINE)
    text = found[1] if found else str(DEMO_PORT)
    if not is_port(text):
        raise OhlcvError(
            f"{PORT_SETTING} in {ENV_FILE} is '{text[:50]}', not a port: set it to a number such as {DEMO_PORT}"
        )
    if not _is_taken(int(text)):
        return f"{text} is free"
    try:
        found_version = fetch_json(urllib.request.Request(f"http://{HOST}:{text}/api/v2/version"), PORT_SECONDS)
    except (urllib.request.HTTPError, UnusableResponseError):
        found_version = None
    if not isinstance(found_version, dict) or "version" not in found_version:
        raise OhlcvError(
            f"port {text} is in use by another program: stop it, or set another {PORT_SETTING} in {ENV_FILE}"
        )
    return f"{text}: Airflow answers"


def _is_taken(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=2).close()
    except OSError:
        return False
    return True
