"""The archives of Spark's classes are in use, and one that does not fit costs nothing but time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.ingest.sample_data import Feed
from ohlcv.model.intervals import HOUR, Range
from ohlcv.model.table_contracts import TRADES
from ohlcv.setup.class_data_sharing import ARCHIVED_CLASS, count_archived_classes, create_archives, is_current
from ohlcv.spark.job_protocol import CODE_GENERATION_MIN_TRADES
from ohlcv.spark.local_cluster import LocalCluster, local_cluster
from ohlcv.spark.spark_submit import JobResult, build_job, run, views_job
from ohlcv.spark.toolchain import ROLES, packaged_spark_home
from support.harness import at

NOON = at("2026-03-01 12:00")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with local_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def classes(cluster: LocalCluster, folder: Path, class_path_ending: str = "") -> dict[str, list[str]]:
    """Run a job; give what each of its JVMs says of the classes it loaded."""
    home = {"OHLCV_HOME": str(folder / "home")}
    settings = load_settings(home)
    create_tables(settings)
    # As many as have their code compiled.
    load_table(open_catalog(settings), TRADES).append(Feed(NOON).batch(NOON + HOUR, CODE_GENERATION_MIN_TRADES))
    job = build_job(settings, "1m", Range(NOON, NOON + timedelta(minutes=5)))
    conf = dict(job.conf)
    for role in ROLES:
        conf[f"spark.{role}.extraJavaOptions"] += f" -Xlog:class+load:file={folder / role}.log"
        conf[f"spark.{role}.extraClassPath"] += class_path_ending
    outcome = run(dataclasses.replace(job, conf=conf), cluster.master, home)
    assert outcome.exit_code == 0, outcome.log
    return {role: (folder / f"{role}.log").read_text().splitlines() for role in ROLES}


def test_both_jvms_take_their_classes_from_the_archives(cluster: LocalCluster, tmp_path: Path) -> None:
    if not is_current():
        create_archives()
    for role, lines in classes(cluster, tmp_path).items():
        shared = sum(ARCHIVED_CLASS in line for line in lines)
        print(f"{role}: {shared:,} of {len(lines):,} classes from the archive")
        assert shared > len(lines) / 2, role
        # Java takes none from a signed jar, and the compiler of Spark's generated code is in two.
        compiler = [line for line in lines if "org.codehaus.janino.UnitCompiler " in line]
        assert compiler, role
        assert all(ARCHIVED_CLASS in line for line in compiler), role


def run_as_job(text: str, folder: Path) -> JobResult:
    """Run a script of a test as jobs are run."""
    script = folder / "job.py"
    script.write_text(text)
    job = dataclasses.replace(views_job(), application=str(script), arguments=())
    return run(job, "local[1]", {"OHLCV_HOME": str(folder / "home")})


JOB = """
import sys
import pyspark
from ohlcv.config.settings import load_settings
from spark_jobs.runtime.session import open_session

spark = open_session(load_settings(), "what is imported")
assert spark.range(3).count() == 3
print(pyspark.__file__, "pandas" in sys.modules)
"""


def test_the_driver_imports_the_installed_pyspark_and_no_pandas(tmp_path: Path) -> None:
    """The zip of sources that a Spark home may have would be compiled at every start; pandas takes half a second."""
    outcome = run_as_job(JOB, tmp_path)
    assert (outcome.exit_code, outcome.last_line) == (0, f"{packaged_spark_home() / '__init__.py'} False"), outcome.log


QUESTIONS = """
from py4j.java_gateway import GatewayClient
from pyspark.sql import functions as F
from ohlcv.config.settings import load_settings
from spark_jobs.runtime.session import open_session

asked = []
send = GatewayClient.send_command
GatewayClient.send_command = lambda client, command, *rest, **more: (
    asked.append(command.split("\\n")[:3]), send(client, command, *rest, **more)
)[1]
spark = open_session(load_settings(), "what is asked")
for _ in range(2):
    asked.clear()
    columns = F.col("a").cast("long"), F.lit(1), F.coalesce("a", "b")
names = [name for kind, *name in asked if kind == "r"]
print(names, len(asked) > 0, spark.range(3).where(F.col("id") > F.lit(0)).count())
"""


def test_what_a_name_means_to_java_is_asked_once(tmp_path: Path) -> None:
    """Column by column pyspark would ask again, a thousand times in a run."""
    outcome = run_as_job(QUESTIONS, tmp_path)
    assert (outcome.exit_code, outcome.last_line) == (0, "[] True 2"), outcome.log


def test_an_archive_that_does_not_fit_costs_nothing_but_time(cluster: LocalCluster, tmp_path: Path) -> None:
    for role, lines in classes(cluster, tmp_path, f":{tmp_path}").items():
        assert lines, role
        assert not any(ARCHIVED_CLASS in line for line in lines), role


def test_whoever_asks_is_told_whether_archives_are_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_current():
        create_archives()
    assert all(count_archived_classes(role) > 1000 for role in ROLES)
    monkeypatch.setattr("ohlcv.spark.spark_submit.archive_path", lambda role: tmp_path / "none.jsa")
    assert count_archived_classes("driver") == 0
