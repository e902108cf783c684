"""docker-compose.yaml, started in earnest by podman-compose on images made here."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment.compose.stack import COMPOSE_FILE, Stack, free_web_port, read_env
from deployment.containers.engine import ROOT, build, engine_environment
from support.server_programs import versitygw

STAND_INS = Path(__file__).with_name("stand_ins")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    # Names of services are looked up in a network of the stack's own.
    environment = engine_environment(folder, rest='[network]\nnetwork_backend = "netavark"')
    compose = yaml.safe_load(COMPOSE_FILE.read_text())
    build(environment, f"localhost/{compose['services']['scheduler']['image']}", str(ROOT))
    build_stand_ins(environment, folder / "stand-ins")
    subprocess.run([ROOT / "deploy" / "env.sh", folder / ".env"], check=True)
    made = Stack(folder, environment | {"OHLCV_WEB_PORT": str(free_web_port())}, write_secrets(folder, compose))
    try:
        yield made
    finally:
        made.compose("down", "--volumes", check=False)


def build_stand_ins(environment: dict[str, str], context: Path) -> None:
    """Build what stands in for images of others."""
    shutil.copytree(STAND_INS, context)
    shutil.copy2(versitygw(), context)
    for name in ("postgres", "store"):
        build(environment, f"localhost/stand-in/{name}:test", "--file", f"{context}/{name}.Containerfile", str(context))


def write_secrets(folder: Path, compose: dict[str, Any]) -> Path:
    """Give the stack its secrets by files: podman-compose cannot take them from the environment."""
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
