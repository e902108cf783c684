"""docker-compose.yaml, .env and the health check, without starting a container."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import healthy
from deploy.healthy import problem
from ohlcv.config.settings import load_settings
from support.server_programs import VERSITYGW

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BUILT = {name for name, service in SERVICES.items() if "build" in service}
# Addition that selects a catalog of pyiceberg's configuration.
CATALOG: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "catalog.yaml").read_text())
INIT_SERVICES = {name for name in SERVICES if name.endswith("-init")}
each_service = pytest.mark.parametrize("name", SERVICES)
# The deployment is made for a machine with 8 GB, without the optional profiles.
MACHINE_MEGABYTES = 8192
# Measured in the scheduler with sample trades: Airflow, tasks, a driver with its JVM.
SCHEDULER_MEGABYTES = 1_094


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = tmp_path_factory.mktemp("env") / ".env"
    write_env(path)
    return read_env(path)


def write_env(path: Path) -> str:
    result = subprocess.run([ROOT / "deploy" / "env.sh", path], capture_output=True, text=True, check=True)
    return result.stderr


def read_env(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_the_image_tag_is_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {SERVICES[name]["image"] for name in BUILT} == {f"ohlcv:{version}"}


def test_the_store_has_the_version_that_the_tests_run() -> None:
    assert SERVICES["store"]["image"].rpartition(":")[2] == VERSITYGW.rpartition("@")[2]


@each_service
def test_every_image_is_pinned(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9./-]+:v?\d+\.\d+[\w.-]*", SERVICES[name]["image"])


@each_service
def test_only_the_web_interface_and_the_api_are_published_and_only_locally(name: str) -> None:
    published = {
        "api-server": ["${OHLCV_WEB_HOST:-127.0.0.1}:${OHLCV_WEB_PORT:-8080}:8080"],
        "candles-api": ["${OHLCV_API_HOST:-127.0.0.1}:${OHLCV_API_PORT:-8090}:8090"],
    }
    assert SERVICES[name].get("ports", []) == published.get(name, [])


def test_the_candle_services_need_different_tokens() -> None:
    """The published service does not accept the token of the API server, which may name any timeframes."""
    assert "api_gateway_token" in SERVICES["candles"]["secrets"]
    assert "api_gateway_token" not in str(SERVICES["candles-api"])
    assert SERVICES["candles-api"]["profiles"] == ["api"]


@each_service
def test_every_service_has_limits_a_restart_policy_and_a_health_check(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory"} <= set(limits)
    assert service["restart"] == ("on-failure" if name in INIT_SERVICES else "unless-stopped")
    assert service["init"] is True
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])
    assert service["healthcheck"].get("disable", False) is (name in INIT_SERVICES)
    assert "stop_grace_period" in service or name in INIT_SERVICES


def test_the_scheduler_stops_after_its_running_tasks() -> None:
    assert SERVICES["scheduler"]["stop_grace_period"] == "330s"


def test_the_memory_limits_fit_the_machine() -> None:
    running = {name for name, each in SERVICES.items() if "profiles" not in each} - INIT_SERVICES
    assert sum(megabytes(SERVICES[name]) for name in running) <= MACHINE_MEGABYTES


def test_the_scheduler_has_memory_for_a_job_with_its_audit() -> None:
    service = SERVICES["scheduler"]
    audit = re.search(r":-(\d+)m}$", service["environment"]["OHLCV_AUDIT_MEMORY"])
    assert audit
    assert SCHEDULER_MEGABYTES + int(audit[1]) <= megabytes(service)


def megabytes(service: dict[str, Any]) -> int:
    memory = re.search(r"(\d+)m}?$", service["deploy"]["resources"]["limits"]["memory"])
    replicas = re.search(r"(\d+)}?$", str(service["deploy"].get("replicas", 1)))
    assert memory
    assert replicas
    return int(memory[1]) * int(replicas[1])


@each_service
def test_the_socket_of_the_engine_is_not_mounted(name: str) -> None:
    assert "docker.sock" not in str(SERVICES[name])


@each_service
def test_secrets_are_files_and_not_variables(name: str) -> None:
    secret = {each["environment"] for each in COMPOSE["secrets"].values()}
    used = set(re.findall(r"(?<!\$)\$\{?([A-Z0-9_]+)", str(SERVICES[name])))
    assert not used & secret


@each_service
def test_every_secret_that_a_service_reads_is_mounted(name: str) -> None:
    read = set(re.findall(r"/run/secrets/([a-z0-9_]+)", str({**SERVICES[name], "secrets": None})))
    assert read <= set(SERVICES[name].get("secrets", []))


def test_env_has_a_distinct_value_for_every_secret(env: dict[str, str]) -> None:
    names = [each["environment"] for each in COMPOSE["secrets"].values()]
    assert set(names) <= set(env)
    required = set(re.findall(r"\$\{([A-Z0-9_]+):\?", TEXT))
    assert all(env[name] for name in required)
    # Secrets of external services are empty until the operator sets them.
    values = [env[name] for name in names if not name.endswith(("_CONNECTION", "_TOKEN", "_CREDENTIAL"))]
    assert all(len(value) >= 44 for value in values)
    assert len(set(values)) == len(values)


def test_every_variable_is_in_env_or_has_a_default(env: dict[str, str]) -> None:
    bare = set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)\}", TEXT)) | set(re.findall(r"(?<!\$)\$([A-Z0-9_]+)", TEXT))
    assert bare <= set(env)


READERS = [name for name, service in SERVICES.items() if "OHLCV_CATALOG_URI" in service.get("environment", {})]


def test_the_addition_selects_the_catalog_of_every_service_that_reads_tables() -> None:
    assert list(CATALOG["services"]) == READERS
    # A catalog whose service decides locations has no bucket to create.
    assert CATALOG["services"]["tables-init"]["command"] == ["ohlcv", "tables", "create"]


@pytest.mark.parametrize("name", READERS)
def test_with_the_addition_all_properties_come_from_the_file(name: str, env: dict[str, str], tmp_path: Path) -> None:
    addition = CATALOG["services"][name]
    (mounted,) = addition["secrets"]
    (tmp_path / mounted["target"]).write_text(
        "catalog:\n  lake:\n    type: rest\n    uri: https://catalog.example/api\n    warehouse: prod\n"
    )
    for secret, source in COMPOSE["secrets"].items():
        (tmp_path / secret).write_text(env[source["environment"]])
    environment = {**SERVICES[name]["environment"], **addition["environment"]}
    values = {
        setting: interpolated(text, {**env, "OHLCV_CATALOG": "lake"}).replace("/run/secrets", str(tmp_path))
        for setting, text in environment.items()
        if setting.startswith(("OHLCV_", "PYICEBERG_"))
    }
    catalog = load_settings({**values, "OHLCV_HOME": str(tmp_path)}).catalog
    assert (catalog.name, str(catalog), catalog.store) == ("lake", "https://catalog.example/api", None)


def interpolated(text: str, variables: dict[str, str]) -> str:
    """Return a value of the compose file with its variables replaced."""

    def value(found: re.Match[str]) -> str:
        name, operator, default = found.groups()
        given = variables.get(name)
        return default if given is None or (not given and operator == ":-") else given

    return re.sub(r"\$\{(\w+)(:-|-|:\?)?([^}]*)\}", value, text)


def test_git_ignores_the_configuration_of_pyiceberg() -> None:
    subprocess.run(["git", "check-ignore", "--quiet", ".pyiceberg.yaml"], cwd=ROOT, check=True)


def test_env_is_written_once_and_readable_only_by_its_owner(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    write_env(path)
    before = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert "is not changed" in write_env(path)
    assert path.read_text() == before


def test_git_ignores_env() -> None:
    subprocess.run(["git", "check-ignore", "--quiet", ".env"], cwd=ROOT, check=True)


def test_the_message_without_env_names_the_command_to_run() -> None:
    assert set(re.findall(r"\$\{OHLCV_S3_ACCESS_KEY:?[^}]*\}", TEXT)) == {
        "${OHLCV_S3_ACCESS_KEY:?is not set, run 'make env' first}"
    }


@pytest.mark.parametrize("name", sorted(BUILT - INIT_SERVICES - {"feed"}))
def test_the_health_check_checks_every_service(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing can listen on port 0, so a service that is checked is unhealthy. An unknown command counts as healthy.
    for pages in (healthy.PAGES, healthy.SPARK_PAGES):
        for page, address in pages.items():
            monkeypatch.setitem(pages, page, re.sub(r":\d+/", ":0/", address))
    monkeypatch.setattr(healthy, "AIRFLOW", "http://127.0.0.1:0/execution/")
    assert problem(SERVICES[name]["command"])
    assert problem(["ohlcv", "--help"]) is None
