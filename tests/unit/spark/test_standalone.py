"""Command line and environment of the Spark daemons, and the secret of the cluster."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import Range
from ohlcv.spark.spark_submit import build_job
from ohlcv.spark.standalone import SECRET_VARIABLE, command, container_arguments, environment, recovery_folder
from spark_jobs.runtime.session import authentication_properties

SECRET = "not-to-be-shown"
SECURED = {"OHLCV_SPARK_SECRET": SECRET, "OHLCV_SPARK_MASTER": "spark://master:7077"}


def test_daemons_get_the_secret_only_by_their_environment() -> None:
    settings = load_settings(SECURED)
    found = environment(settings, Path("recovery"))
    assert [name for name, value in found.items() if SECRET in value] == [SECRET_VARIABLE]
    assert "-Dspark.authenticate=true" in found["SPARK_DAEMON_JAVA_OPTS"].split()
    assert SECRET not in " ".join(command("worker", *container_arguments("worker", settings)))
    assert SECRET not in repr(settings)


def test_without_a_secret_authentication_is_off() -> None:
    found = environment(load_settings({}), Path("recovery"))
    assert SECRET_VARIABLE not in found
    assert "authenticate" not in found["SPARK_DAEMON_JAVA_OPTS"]
    assert authentication_properties(load_settings({})) == {}


def test_a_job_gets_the_secret_but_not_by_its_command_line() -> None:
    settings = load_settings(SECURED)
    assert authentication_properties(settings) == {"spark.authenticate": "true", "spark.authenticate.secret": SECRET}
    own_range = Range(datetime(2026, 3, 1, 10, tzinfo=UTC), datetime(2026, 3, 1, 11, tzinfo=UTC))
    assert SECRET not in " ".join(build_job(settings, "1m", own_range).command("spark://master:7077"))


def test_the_master_accepts_no_drivers() -> None:
    options = environment(load_settings({}), Path("recovery"))["SPARK_DAEMON_JAVA_OPTS"].split()
    assert "-Dspark.master.rest.enabled=false" in options


def test_only_the_owner_reads_the_state_of_the_master(tmp_path: Path) -> None:
    assert recovery_folder(tmp_path).stat().st_mode & 0o777 == 0o700


def test_a_worker_needs_a_master() -> None:
    with pytest.raises(InputError, match="OHLCV_SPARK_MASTER is not set"):
        container_arguments("worker", load_settings({}))
