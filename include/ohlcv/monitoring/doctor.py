"""What is wrong here, and what to do: small looks at settings, set-up, catalog, store and services, a line each.

Nothing is changed, but for a probe that is written to the warehouse and removed. A look whose ground is missing (a
catalog that is down has no tables to look at) is left out: its cause is told already.
"""

from __future__ import annotations

import re
import socket
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import load_table, open_catalog, warehouse_problem
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.table_contracts import contracts
from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.monitoring.airflow_client import AirflowApi
from ohlcv.monitoring.health import workers
from ohlcv.setup import class_data_sharing
from ohlcv.spark.processes import HOST
from ohlcv.spark.spark_submit import check_master, script_folder
from ohlcv.spark.toolchain import JARS, ROLES, jar_problem, java_home

State = Literal["ok", "fault", "unused"]

# Where the demo's web page listens, if it can; in a deployment .env says where.
DEMO_PORT = 8080
PORT_NAME = "OHLCV_WEB_PORT"
COMPOSE_FILE, ENV_FILE = "docker-compose.yaml", ".env"
# Settings that are read together: one that is wrong makes its companions seem so.
_GROUPS = (("OHLCV_CATALOG_", "OHLCV_WAREHOUSE", "OHLCV_S3_"), ("OHLCV_AIRFLOW_",))


@dataclass(frozen=True)
class Check:
    """One look: at what, how it stands, and what was found; of a fault also what to do."""

    name: str
    state: State
    found: str


def examine(environment: Mapping[str, str], project: Path | None = None) -> Iterator[Check]:
    """Look at everything, one after the other; `project` is the folder with the deployment's files."""
    faults = list(settings_faults(environment))
    yield from (Check("settings", "fault", fault) for fault in faults)
    if not faults:
        yield Check("settings", "ok", f"{sum(name.startswith('OHLCV_') for name in environment)} set, all valid")
    yield _look("Java", java)
    yield from jars()
    yield _look("archives", archives)
    yield from deployment(project or script_folder().parent)
    if faults:
        return
    settings = load_settings(environment)
    yield from data(settings)
    yield from spark(settings)
    yield _look("Airflow", lambda: airflow(settings))


def _look(name: str, look: Callable[[], str | None]) -> Check:
    """Take what a look gives for what it found, none for nothing to look at, and an error for a fault."""
    try:
        found = look()
    except OhlcvError as error:
        return Check(name, "fault", " ".join(str(error).split()))
    return Check(name, "unused", "not set") if found is None else Check(name, "ok", found)


def settings_faults(environment: Mapping[str, str]) -> Iterator[str]:
    """Give every setting that cannot be meant: the settings themselves stop at the first."""
    left = {name: value for name, value in environment.items() if name.startswith("OHLCV_")}
    while True:
        try:
            load_settings(left)
        except InputError as error:
            fault = str(error)
            name, left = _cause(left, fault)
            # Some faults speak of what a setting means, not of the variable.
            yield fault if name in fault else f"{name}: {fault}"
        else:
            return


def _cause(values: dict[str, str], fault: str) -> tuple[str, dict[str, str]]:
    """Find the setting that brings a fault about; give the settings without it and those it is read together with."""
    for name in values:
        together = next((group for group in _GROUPS if name.startswith(group)), (name,))
        rest = {other: value for other, value in values.items() if not other.startswith(together)}
        try:
            load_settings(rest)
        except InputError as error:
            if str(error) == fault:
                continue
        return name, rest
    raise AssertionError("without any setting there is no fault")


def java() -> str:
    """Find the Java that Spark will run on."""
    home = java_home()
    version = re.search(r'^JAVA_VERSION="([^"]+)', _text(home / "release"), re.MULTILINE)
    return f"{version[1] if version else 'packaged'} in {home}"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def jars() -> Iterator[Check]:
    """Hold every jar against its checksum."""
    faults = [problem for jar in JARS if (problem := jar_problem(jar))]
    yield from (Check("jars", "fault", fault) for fault in faults)
    if not faults:
        yield Check("jars", "ok", f"{len(JARS)}, all as pinned")


def archives() -> str:
    """See whether jobs really start from the archives of classes: a JVM passes over one that does not fit."""
    if not class_data_sharing.is_current():
        raise OhlcvError("there are no archives of classes that fit, so that jobs start slower: run 'make setup'")
    taken = {role: class_data_sharing.classes_in_use(role) for role in ROLES}
    if unused := [role for role in ROLES if not taken[role]]:
        raise OhlcvError(
            f"Java takes no class from the archive of the {' and the '.join(unused)}, so that jobs start slower: "
            "remove .venv/share/ohlcv/archives and run 'make setup'"
        )
    return f"of classes in use: a starting JVM takes {min(taken.values()):,} from them"


def data(settings: Settings) -> Iterator[Check]:
    """Look at the catalog, the warehouse, and the tables in them."""
    is_there = settings.catalog.engine != "sqlite" or Path(settings.catalog.database).exists()
    if is_there:
        catalog = _look("catalog", lambda: f"{settings.catalog} answers" if open_catalog(settings) else None)
    else:
        catalog = Check("catalog", "ok", f"{settings.catalog} is made on first use")
    yield catalog
    problem = warehouse_problem(settings)
    place = settings.warehouse or "the catalog's own"
    yield Check("warehouse", "fault" if problem else "ok", problem or f"{place} can be written")
    if catalog.state == "fault":
        return
    if not is_there:
        yield Check("tables", "fault", "there are no tables yet: run 'ohlcv tables create'")
    else:
        yield _look("tables", lambda: tables(settings))


def tables(settings: Settings) -> str:
    """Hold every table against its contract."""
    catalog = open_catalog(settings)
    names = [load_table(catalog, contract).name()[-1] for contract in contracts()]
    return f"{len(names)}, all as agreed"


def spark(settings: Settings) -> Iterator[Check]:
    """See whether the master answers and has its workers."""

    def master() -> str | None:
        if settings.spark_master is None:
            return None
        check_master(settings.spark_master)
        return f"the master {settings.spark_master} answers"

    yield _look("Spark", master)
    if settings.spark_web is not None:
        found = workers(settings)
        cure = f": start workers ({found.target} are wanted), or correct OHLCV_SPARK_WEB"
        yield Check("workers", *(("ok", found.found) if found.state == "ok" else ("fault", found.found + cure)))


def airflow(settings: Settings) -> str | None:
    """Log in to Airflow and see whether it knows the DAGs."""
    if settings.airflow is None:
        return None
    known = AirflowApi(settings.airflow.url, settings.airflow.user, settings.airflow.password).dags()
    missing = [dag for dag in (settings.timeframe(name).dag_id for name in TIMEFRAMES) if dag not in known]
    if missing:
        raise OhlcvError(f"Airflow at {settings.airflow.url} does not know {missing[0]}: look at its import errors")
    return f"{settings.airflow.url} answers and knows the DAGs"


def deployment(project: Path) -> Iterator[Check]:
    """Look at what `docker compose up` needs, and at the port of the web page."""
    if (project / COMPOSE_FILE).exists():
        if not (project / ENV_FILE).exists():
            yield Check("compose", "fault", f"{COMPOSE_FILE} needs a file {ENV_FILE} beside it: run 'make env'")
        else:
            yield Check("compose", "ok", f"{ENV_FILE} is there")
            yield _look("port", lambda: deployed_port(_text(project / ENV_FILE)))
            return
    free = not _is_taken(DEMO_PORT)
    # The demo looks for another port by itself.
    yield Check("port", "ok", f"{DEMO_PORT} is {'free' if free else 'taken: a demo takes another one, and says which'}")


def deployed_port(env: str) -> str:
    """See whether the web page's port is free, or Airflow's already."""
    found = re.search(rf"^{PORT_NAME}=[\"']?(.*?)[\"']?\s*$", env, re.MULTILINE)
    text = found[1] if found else str(DEMO_PORT)
    if not text.isdigit() or not 0 < int(text) < 65_536:
        raise OhlcvError(f"{PORT_NAME} in {ENV_FILE} is '{text}': give a port such as {DEMO_PORT}")
    if not _is_taken(int(text)):
        return f"{text} is free"
    try:
        with urllib.request.urlopen(f"http://{HOST}:{text}/api/v2/version", timeout=5):
            return f"{text}: Airflow answers"
    except (OSError, ValueError):
        raise OhlcvError(
            f"port {text} is in use by another program: end it, or set another {PORT_NAME} in {ENV_FILE}"
        ) from None


def _is_taken(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=2).close()
    except OSError:
        return False
    return True
