"""The image, built by buildah, and podman's service that speaks Docker's interface."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from faults.processes import wait_for
from ohlcv.local_process import start, stop

ROOT = Path(__file__).parents[2]
BASE, IMAGE = "localhost/debian-python:bookworm", "localhost/ohlcv:test"
# What podman needs where it is not the machine's first process: no cgroups or limits of its own to set.
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1000:1000", "nproc=900:900"]
pids_limit = 0
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
"""


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
    (folder / "containers.conf").write_text(CONTAINERS_CONF)
    environment = os.environ | {"CONTAINERS_CONF": str(folder / "containers.conf")}
    subprocess.run([str(Path(__file__).with_name("stand_in_base.sh")), BASE], env=environment, check=True)
    build = ["buildah", "bud", "--isolation", "chroot", "--network", "host", "--layers"]
    subprocess.run(
        [*build, "--build-arg", f"BASE_IMAGE={BASE}", "--tag", IMAGE, str(ROOT)], env=environment, check=True
    )
    address = f"unix://{folder}/podman.sock"
    service = start(["podman", "system", "service", "--time=0", address], environment, folder / "podman.log")
    try:
        wait_for((folder / "podman.sock").exists, "podman answers", 0.2)
        yield Engine(address, IMAGE, environment)
    finally:
        stop(service, grace_seconds=10)
