"""Command line and environment of the Spark daemons, and the secret of the cluster."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import Range
from ohlcv.spark.spark_submit import build_job
from ohlcv.spark.standalone import SECRET_VARIABLE, command, container_arguments, environment
from spark_jobs.runtime.session import authentication_properties

SECRET = "not-to-be-shown"
SECURED = {"OHLCV_SPARK_SECRET": SECRET, "OHLCV_SPARK_MASTER": "spark://master:7077"}


def test_daemons_get_the_secret_only_by_their_environment() -> None:
    settings = load_settings(SECURED)
    found = environment(settings)
    assert [name for name, value in found.items() if SECRET in value] == [SECRET_VARIABLE]
    assert "-Dspark.authenticate=true" in found["SPARK_DAEMON_JAVA_OPTS"].split()
    assert SECRET not in " ".join(command("worker", *container_arguments("worker", settings)))
    assert SECRET not in repr(settings)


def test_without_a_secret_authentication_is_off() -> None:
    found = environment(load_settings({}))
    assert SECRET_VARIABLE not in found
    assert "authenticate" not in found["SPARK_DAEMON_JAVA_OPTS"]
    assert authentication_properties(load_settings({})) == {}


def test_a_job_gets_the_secret_but_not_by_its_command_line() -> None:
    settings = load_settings(SECURED)
    assert authentication_properties(settings) == {"spark.authenticate": "true", "spark.authenticate.secret": SECRET}
    own_range = Range(datetime(2026, 3, 1, 10, tzinfo=UTC), datetime(2026, 3, 1, 11, tzinfo=UTC))
    assert SECRET not in " ".join(build_job(settings, "1m", own_range).command("spark://master:7077"))


def test_a_worker_needs_a_master() -> None:
    with pytest.raises(InputError, match="OHLCV_SPARK_MASTER is not set"):
        container_arguments("worker", load_settings({}))
