"""The image, built by buildah, and podman's service that implements Docker's API."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from deployment.containers.engine import ROOT, build, engine_environment
from ohlcv.spark.processes import start, stop
from support.processes import wait_for

IMAGE = "localhost/ohlcv:test"


@dataclass(frozen=True)
class Engine:
    """A container engine that has the image."""

    address: str
    image: str
    environment: dict[str, str]
    # Other test runs on this machine may have left containers.
    earlier_containers: frozenset[str]

    def containers(self) -> set[str]:
        """Return the ids of all containers created since the start of the engine, including stopped ones."""
        return list_containers(self.environment) - self.earlier_containers


def list_containers(environment: dict[str, str]) -> set[str]:
    command = ["podman", "ps", "--all", "--quiet", "--no-trunc"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("podman")
    environment = engine_environment(folder, containers='netns = "host"')
    build(environment, IMAGE, str(ROOT))
    address = f"unix://{folder}/podman.sock"
    earlier_containers = frozenset(list_containers(environment))
    service = start(["podman", "system", "service", "--time=0", address], environment, folder / "podman.log")
    try:
        wait_for((folder / "podman.sock").exists, "podman's socket exists", 0.2)
        yield Engine(address, IMAGE, environment, earlier_containers)
    finally:
        stop(service, grace_seconds=10)
