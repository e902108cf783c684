"""On a machine without the packages of a lane, one line names them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "require_commands.sh"
# Debian package by command.
CONTAINER_PACKAGES = {"podman": "podman", "buildah": "buildah", "runc": "runc", "debootstrap": "debootstrap"}
PAGE_PACKAGES = {"chromium": "chromium", "chromedriver": "chromium-driver"}
COMPOSE_PACKAGES = CONTAINER_PACKAGES | PAGE_PACKAGES


def require(lane: str, folder: Path, *commands: str) -> subprocess.CompletedProcess[str]:
    """Run the script where only the given commands are installed, beside those the script itself uses."""
    for name in ("bash", "sort", "env"):
        (folder / name).symlink_to(str(shutil.which(name)))
    # Programs without content, and an `id` that answers as for root.
    for name in commands:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    (folder / "id").write_text("#!/bin/sh\necho 0\n")
    (folder / "id").chmod(0o755)
    environment = os.environ | {"PATH": str(folder)}
    return subprocess.run([SCRIPT, lane], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("lane", "packages"),
    [("containers", CONTAINER_PACKAGES), ("compose", COMPOSE_PACKAGES), ("page", PAGE_PACKAGES)],
    ids=["containers", "compose", "page"],
)
def test_missing_packages_are_named_in_one_line(lane: str, packages: dict[str, str], tmp_path: Path) -> None:
    result = require(lane, tmp_path, "go")
    names = " ".join(sorted(packages.values()))
    assert result.returncode == 1
    assert result.stderr == f"error: make test-{lane} cannot run here: run 'apt-get install {names}'\n"


def test_only_the_missing_package_is_named(tmp_path: Path) -> None:
    result = require("compose", tmp_path, "go", *(COMPOSE_PACKAGES.keys() - {"chromedriver"}))
    assert result.stderr == "error: make test-compose cannot run here: run 'apt-get install chromium-driver'\n"


def test_go_is_named_where_the_lane_builds_its_s3_server(tmp_path: Path) -> None:
    result = require("catalogs", tmp_path)
    assert result.returncode == 1
    assert result.stderr == (
        "error: make test-catalogs cannot run here: install Go 1.24 or later from https://go.dev/dl\n"
    )


def test_a_lane_with_all_its_commands_is_accepted_silently(tmp_path: Path) -> None:
    result = require("compose", tmp_path, "go", *COMPOSE_PACKAGES)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
