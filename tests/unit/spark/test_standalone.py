"""How Spark's daemons are started, and where the cluster's secret goes."""

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


def test_the_secret_travels_by_environment_alone() -> None:
    settings = load_settings(SECURED)
    found = environment(settings)
    assert [name for name, value in found.items() if SECRET in value] == [SECRET_VARIABLE]
    assert "-Dspark.authenticate=true" in found["SPARK_DAEMON_JAVA_OPTS"].split()
    assert SECRET not in " ".join(command("worker", *container_arguments("worker", settings)))
    assert SECRET not in repr(settings)


def test_without_a_secret_nobody_is_asked_for_one() -> None:
    found = environment(load_settings({}))
    assert SECRET_VARIABLE not in found
    assert "authenticate" not in found["SPARK_DAEMON_JAVA_OPTS"]
    assert authentication_properties(load_settings({})) == {}


def test_a_job_knows_the_secret_and_its_command_line_does_not() -> None:
    settings = load_settings(SECURED)
    assert authentication_properties(settings) == {"spark.authenticate": "true", "spark.authenticate.secret": SECRET}
    own = Range(datetime(2026, 3, 1, 10, tzinfo=UTC), datetime(2026, 3, 1, 11, tzinfo=UTC))
    assert SECRET not in " ".join(build_job(settings, "1m", own).command("spark://master:7077"))


def test_a_worker_without_a_master_is_refused() -> None:
    with pytest.raises(InputError, match="OHLCV_SPARK_MASTER names no master"):
        container_arguments("worker", load_settings({}))
