"""Set-up of podman and buildah for tests: their configuration, and image builds without a registry."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
BASE_IMAGE = "localhost/debian-python:bookworm"
# Inside a container podman can neither raise limits nor create systemd's cgroups.
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1000:1000", "nproc=900:900"]
pids_limit = 0
{containers}
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
{rest}
"""


def engine_environment(folder: Path, containers: str = "", rest: str = "") -> dict[str, str]:
    """Return the environment of podman's commands. The arguments are further lines of containers.conf."""
    path = folder / "containers.conf"
    path.write_text(CONTAINERS_CONF.format(containers=containers, rest=rest))
    return os.environ | {"CONTAINERS_CONF": str(path)}


def build(environment: dict[str, str], tag: str, *arguments: str) -> None:
    """Build an image on the substitute base image, in Docker's format: OCI's has no health checks."""
    script = str(Path(__file__).with_name("build_base_image.sh"))
    subprocess.run([script, BASE_IMAGE], env=environment, check=True)
    command = ["buildah", "bud", "--format", "docker", "--isolation", "chroot", "--network", "host", "--layers"]
    subprocess.run(
        [*command, "--build-arg", f"BASE_IMAGE={BASE_IMAGE}", "--tag", tag, *arguments], env=environment, check=True
    )
