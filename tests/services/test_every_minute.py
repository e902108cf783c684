"""The DAG file of the test site defines each DAG once, so every parse finds the same DAGs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DAG_FILE = Path(__file__).parent / "dags" / "every_minute.py"
PARSES = 20
# Airflow orders the DAGs of a file by their hashes, which depend on PYTHONHASHSEED.
HASH_SEEDS = (0, 1, 2, 3, 4, 5)
SCRIPT = f"""
from airflow.dag_processing.importers.python_importer import PythonDagImporter

for _ in range({PARSES}):
    result = PythonDagImporter().import_file({str(DAG_FILE)!r})
    assert not result.errors, result.errors
    found = [dag.timetable.expression for dag in result.dags if dag.dag_id == "ohlcv_1m"]
    print(*found, sep=" and ")
"""


@pytest.mark.services
@pytest.mark.parametrize("seed", HASH_SEEDS)
def test_every_parse_finds_one_minutely_dag(seed: int, tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONHASHSEED": str(seed),
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "OHLCV_HOME": str(tmp_path / "home"),
    }
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["* * * * *"] * PARSES
