"""The image, built by buildah, and podman's service that speaks Docker's interface."""

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
    """A container engine with the image in it."""

    address: str
    image: str
    environment: dict[str, str]

    def containers(self) -> list[str]:
        """List all containers, stopped ones too."""
        command = ["podman", "ps", "--all", "--quiet"]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout.split()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the image."""
        command = ["podman", "run", "--rm", self.image, *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("podman")
    environment = engine_environment(folder, containers='netns = "host"')
    build(environment, IMAGE, str(ROOT))
    address = f"unix://{folder}/podman.sock"
    service = start(["podman", "system", "service", "--time=0", address], environment, folder / "podman.log")
    try:
        wait_for((folder / "podman.sock").exists, "podman answers", 0.2)
        yield Engine(address, IMAGE, environment)
    finally:
        stop(service, grace_seconds=10)
