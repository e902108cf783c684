"""`ohlcv env` and `ohlcv airflow`: the environment of a running demo, for other shells."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet

from ohlcv.cli.commands import cli
from ohlcv.demo.local_airflow import ENVIRONMENT_FILE, fernet_key, published_environment
from ohlcv.model.errors import OhlcvError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OHLCV_HOME", str(tmp_path))
    (tmp_path / "airflow").mkdir()
    return tmp_path


def test_a_shell_can_evaluate_the_output(home: Path) -> None:
    values = {"AIRFLOW_HOME": str(home), "ODD": "a 'quoted' $value\nwith \"two\" lines"}
    with published_environment(home / "airflow", values):
        output = CliRunner().invoke(cli, ["env"], catch_exceptions=False).output
        as_json = CliRunner().invoke(cli, ["env", "--format", "json"], catch_exceptions=False).output
    result = subprocess.run(
        ["bash", "-c", 'eval "$TEXT"; printf %s "$ODD"; printf %s "$AIRFLOW_HOME"'],
        env={**os.environ, "TEXT": output},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == values["ODD"] + values["AIRFLOW_HOME"]
    assert json.loads(as_json) == values


def test_the_file_is_private_and_removed(home: Path) -> None:
    path = home / "airflow" / ENVIRONMENT_FILE
    with published_environment(home / "airflow", {"A": "1"}):
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


def test_without_a_demo_there_is_one_line(home: Path) -> None:
    with pytest.raises(OhlcvError, match=f"no demo runs in {home}: start it with 'make demo'"):
        CliRunner().invoke(cli, ["env"], catch_exceptions=False)


def test_a_killed_demo_is_not_running(home: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    text = json.dumps({"process": process.pid, "environment": {"A": "1"}})
    (home / "airflow" / ENVIRONMENT_FILE).write_text(text)
    for command in (["env"], ["airflow", "dags", "list"]):
        with pytest.raises(OhlcvError, match="no demo runs"):
            CliRunner().invoke(cli, command, catch_exceptions=False)


def test_the_next_demo_has_the_key_with_which_the_last_one_encrypted(home: Path) -> None:
    # Otherwise the triggerer ends at a task that was deferred when the last demo was stopped.
    encrypted = Fernet(fernet_key(home / "airflow")).encrypt(b"trigger")
    assert Fernet(fernet_key(home / "airflow")).decrypt(encrypted) == b"trigger"
    assert (home / "airflow" / "fernet-key").stat().st_mode & 0o777 == 0o600
