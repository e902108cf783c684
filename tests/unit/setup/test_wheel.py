"""The wheel of this project contains every module and data file, and each module can be imported from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import get_args

import pytest

from ohlcv.spark.spark_submit import Profile

ROOT = Path(__file__).resolve().parents[3]
# Source folder of each top-level package.
PACKAGES = {"ohlcv": ROOT / "include" / "ohlcv", "spark_jobs": ROOT / "spark_jobs"}
# The folder of the wheel precedes site-packages, where the editable installation of the same packages is.
IMPORT_ALL = """
import importlib, sys
folder, *modules = sys.argv[1:]
sys.path.insert(0, folder)
for name in modules:
    file = importlib.import_module(name).__file__
    assert file.startswith(folder), f"{name} was imported from {file}"
"""


def source_files() -> set[str]:
    """Return the paths of all modules and data files, relative to the folder of the installed packages."""
    return {
        str(Path(package) / path.relative_to(folder))
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*")
        # .stamp is a file of tools/page.sh, which builds the folder static.
        if path.name != ".stamp"
        and (path.suffix in {".py", ".properties"} or path.name == "py.typed" or path.parent.name == "static")
    }


def module_name(file: str) -> str:
    return file.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, without network access, and unpack it."""
    folder = tmp_path_factory.mktemp("wheel")
    project = folder / "project"
    for package in PACKAGES.values():
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(package, project / package.relative_to(ROOT), ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, project)
    uv = [str(Path(sys.executable).with_name("uv")), "build", "--wheel", "--no-build-isolation", "--offline"]
    command = [*uv, "--python", sys.executable, "--out-dir", str(folder), str(project)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installation")
    return folder / "installation"


def test_the_wheel_contains_all_modules_and_data_files(installation: Path) -> None:
    installed = {
        str(path.relative_to(installation))
        for package in PACKAGES
        for path in (installation / package).rglob("*")
        if path.is_file()
    }
    assert installed == source_files()
    assert {f"ohlcv/spark/{profile}.properties" for profile in get_args(Profile)} <= installed


def test_every_module_can_be_imported_from_the_wheel(installation: Path, tmp_path: Path) -> None:
    modules = sorted(module_name(file) for file in source_files() if file.endswith(".py"))
    assert {"ohlcv.cli.main", "spark_jobs.ohlcv_batch", "spark_jobs.jobs.build_candles"} <= set(modules)
    # Airflow writes its configuration file when it is imported.
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-c", IMPORT_ALL, str(installation), *modules]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
