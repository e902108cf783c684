"""The services of docker-compose.yaml, started by podman-compose with images that are built here."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment.compose.stack import COMPOSE_FILE, Stack, read_env
from deployment.containers.engine import ROOT, build, engine_environment
from ohlcv.spark.processes import free_port
from support.server_programs import versitygw

SUBSTITUTE_IMAGES = Path(__file__).with_name("substitute_images")
LOCK_FILE = Path(tempfile.gettempdir()) / "ohlcv-compose-test.lock"


@pytest.fixture(scope="session")
def only_run() -> Iterator[None]:
    """Exit if another run of these tests is active. The lock ends with its process, also when that is killed."""
    with LOCK_FILE.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.exit("another run of the compose tests is active on this machine: wait for its end", returncode=1)
        yield


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, only_run: None) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    # The containers find each other by service names, in a network of the project.
    environment = engine_environment(folder, rest='[network]\nnetwork_backend = "netavark"')
    compose = yaml.safe_load(COMPOSE_FILE.read_text())
    build(environment, f"localhost/{compose['services']['scheduler']['image']}", str(ROOT))
    build_substitute_images(environment, folder / "substitute-images")
    subprocess.run([ROOT / "deploy" / "env.sh", folder / ".env"], check=True)
    stack = Stack(folder, environment | {"OHLCV_WEB_PORT": str(free_port())}, write_secrets(folder, compose))
    stack.remove_earlier_projects()
    try:
        yield stack
    finally:
        stack.compose("--profile", "demo", "down", "--volumes", check=False)


def build_substitute_images(environment: dict[str, str], context: Path) -> None:
    """Build the substitutes for third-party images."""
    shutil.copytree(SUBSTITUTE_IMAGES, context)
    shutil.copy2(versitygw(), context)
    for name in ("postgres", "store"):
        tag = f"localhost/ohlcv-test/{name}:test"
        build(environment, tag, "--file", f"{context}/{name}.Containerfile", str(context))


def write_secrets(folder: Path, compose: dict[str, Any]) -> Path:
    """Write the secrets to files, because podman-compose cannot read them from the environment."""
    values = read_env(folder / ".env")
    (folder / "secrets").mkdir()
    lines = ["secrets:"]
    for name, source in compose["secrets"].items():
        path = folder / "secrets" / name
        path.write_text(values[source["environment"]])
        lines.append(f"  {name}: {{environment: !reset null, file: {path}}}")
    override = folder / "secrets.yaml"
    override.write_text("\n".join(lines))
    return override
