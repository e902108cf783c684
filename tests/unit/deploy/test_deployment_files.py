"""docker-compose.yaml, .env and the health check, as far as they can be judged without starting anything."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.healthy import problem
from support.server_programs import VERSITYGW

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if "build" in service}
ONE_SHOT = {name for name in SERVICES if name.endswith("-init")}
each_service = pytest.mark.parametrize("name", SERVICES)
# The machine the deployment is made for has 8 GB; profiles come on top.
MACHINE_MEGABYTES = 8192


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


def test_the_image_has_the_packages_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {SERVICES[name]["image"] for name in OURS} == {f"ohlcv:{version}"}


def test_the_store_is_the_one_the_tests_run() -> None:
    assert SERVICES["store"]["image"].rpartition(":")[2] == VERSITYGW.rpartition("@")[2]


@each_service
def test_every_image_is_pinned(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9./-]+:v?\d+\.\d+[\w.-]*", SERVICES[name]["image"])


@each_service
def test_only_the_web_interface_is_published_and_only_here(name: str) -> None:
    ports = SERVICES[name].get("ports", [])
    assert ports == (["${OHLCV_WEB_HOST:-127.0.0.1}:${OHLCV_WEB_PORT:-8080}:8080"] if name == "api-server" else [])


@each_service
def test_every_service_is_kept_within_bounds_and_up(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory"} <= set(limits)
    assert service["restart"] == ("on-failure" if name in ONE_SHOT else "unless-stopped")
    assert service["init"] is True
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])
    assert service["healthcheck"].get("disable", False) is (name in ONE_SHOT)
    assert "stop_grace_period" in service or name in ONE_SHOT


def test_a_task_may_end_before_its_scheduler_does() -> None:
    assert SERVICES["scheduler"]["stop_grace_period"] == "330s"


def test_the_limits_fit_the_machine() -> None:
    running = {name for name, each in SERVICES.items() if "profiles" not in each} - ONE_SHOT
    assert sum(megabytes(SERVICES[name]) for name in running) <= MACHINE_MEGABYTES


def megabytes(service: dict[str, Any]) -> int:
    words = re.search(r"(\d+)m}?$", service["deploy"]["resources"]["limits"]["memory"])
    replicas = re.search(r"(\d+)}?$", str(service["deploy"].get("replicas", 1)))
    assert words
    assert replicas
    return int(words[1]) * int(replicas[1])


@each_service
def test_no_engine_socket_is_mounted(name: str) -> None:
    assert "docker.sock" not in str(SERVICES[name])


@each_service
def test_secrets_are_files_never_variables(name: str) -> None:
    secret = {each["environment"] for each in COMPOSE["secrets"].values()}
    used = set(re.findall(r"(?<!\$)\$\{?([A-Z0-9_]+)", str(SERVICES[name])))
    assert not used & secret


@each_service
def test_secrets_a_service_reads_are_given_to_it(name: str) -> None:
    read = set(re.findall(r"/run/secrets/([a-z0-9_]+)", str({**SERVICES[name], "secrets": None})))
    assert read <= set(SERVICES[name].get("secrets", []))


def test_env_covers_every_secret_and_each_has_its_own(env: dict[str, str]) -> None:
    names = [each["environment"] for each in COMPOSE["secrets"].values()]
    assert set(names) <= set(env)
    required = set(re.findall(r"\$\{([A-Z0-9_]+):\?", TEXT))
    assert all(env[name] for name in required)
    # Those of other people's services are empty until somebody fills them in.
    values = [env[name] for name in names if not name.endswith(("_CONNECTION", "_TOKEN"))]
    assert all(len(value) >= 44 for value in values)
    assert len(set(values)) == len(values)


def test_a_variable_that_env_does_not_write_has_a_default(env: dict[str, str]) -> None:
    bare = set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)\}", TEXT)) | set(re.findall(r"(?<!\$)\$([A-Z0-9_]+)", TEXT))
    assert bare <= set(env)


def test_env_is_written_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    write_env(path)
    before = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert "stays as it is" in write_env(path)
    assert path.read_text() == before


def test_env_is_never_committed() -> None:
    subprocess.run(["git", "check-ignore", "--quiet", ".env"], cwd=ROOT, check=True)


def test_without_env_the_message_names_its_cure() -> None:
    assert set(re.findall(r"\$\{OHLCV_S3_ACCESS_KEY:?[^}]*\}", TEXT)) == {
        "${OHLCV_S3_ACCESS_KEY:?is not set, run 'make env' first}"
    }


@pytest.mark.parametrize("name", sorted(OURS - ONE_SHOT - {"feed"}))
def test_the_health_check_knows_every_service(name: str) -> None:
    # Nothing listens here, so a service that is known is ill, and one that is not known passes for well.
    assert problem(SERVICES[name]["command"])
    assert problem(["ohlcv", "--help"]) is None
