"""podman and buildah where there is no registry, and the project's image made by them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
BASE = "localhost/debian-python:bookworm"
# What podman needs where it is not the machine's first process: no limits of its own to raise.
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
    """Give the environment of podman's commands, with settings of their own on top."""
    path = folder / "containers.conf"
    path.write_text(CONTAINERS_CONF.format(containers=containers, rest=rest))
    return os.environ | {"CONTAINERS_CONF": str(path)}


def build(environment: dict[str, str], tag: str, *arguments: str) -> None:
    """Build an image on the stand-in base; Docker's format, since the other knows no health checks."""
    subprocess.run([str(Path(__file__).with_name("stand_in_base.sh")), BASE], env=environment, check=True)
    command = ["buildah", "bud", "--format", "docker", "--isolation", "chroot", "--network", "host", "--layers"]
    subprocess.run(
        [*command, "--build-arg", f"BASE_IMAGE={BASE}", "--tag", tag, *arguments], env=environment, check=True
    )
