"""CDS archives: both JVMs of a job use them, and a job succeeds without a matching archive."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ohlcv.config.execution import ENGINES, Engine
from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.ingest.sample_data import Feed
from ohlcv.model.intervals import HOUR, Range
from ohlcv.setup.class_data_sharing import ARCHIVED_CLASS, count_archived_classes, create_archives, is_current
from ohlcv.spark.job_protocol import CODE_GENERATION_MIN_TRADES
from ohlcv.spark.local_cluster import LocalCluster, local_cluster
from ohlcv.spark.spark_submit import JobResult, build_job, run, views_job
from ohlcv.spark.toolchain import ROLES, packaged_spark_home
from support.default_tables import TRADES
from support.harness import at

pytestmark = pytest.mark.archives

NOON = at("2026-03-01 12:00")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with local_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def class_loading_logs(
    cluster: LocalCluster, folder: Path, engine: Engine = "jvm", class_path_suffix: str = ""
) -> dict[str, list[str]]:
    """Run a job and return the class loading log of each JVM."""
    home = {"OHLCV_HOME": str(folder / "home"), "OHLCV_1M_EXECUTION": engine}
    settings = load_settings(home)
    create_tables(settings)
    # Enough trades for code generation.
    load_table(open_catalog(settings), TRADES).append(Feed(NOON).batch(NOON + HOUR, CODE_GENERATION_MIN_TRADES))
    job = build_job(settings, "1m", Range(NOON, NOON + timedelta(minutes=5)))
    conf = dict(job.conf)
    for role in ROLES:
        conf[f"spark.{role}.extraJavaOptions"] += f" -Xlog:class+load:file={folder / role}.log"
        conf[f"spark.{role}.extraClassPath"] += class_path_suffix
    result = run(dataclasses.replace(job, conf=conf), cluster.master, home)
    assert result.exit_code == 0, result.log
    return {role: (folder / f"{role}.log").read_text().splitlines() for role in ROLES}


@pytest.mark.parametrize("engine", ENGINES)
def test_both_jvms_load_classes_from_the_archives(cluster: LocalCluster, tmp_path: Path, engine: Engine) -> None:
    if not is_current():
        create_archives()
    for role, lines in class_loading_logs(cluster, tmp_path, engine).items():
        shared = sum(ARCHIVED_CLASS in line for line in lines)
        print(f"{role}: {shared:,} of {len(lines):,} classes from the archive")
        assert shared > len(lines) / 2, role
        # Java archives no class of a signed jar. The compiler of generated code is in two signed jars of pyspark.
        compiler = [line for line in lines if "org.codehaus.janino.UnitCompiler " in line]
        assert compiler, role
        assert all(ARCHIVED_CLASS in line for line in compiler), role
        native = [line for line in lines if " org.apache.comet." in line or ".sql.comet." in line]
        assert bool(native) == (engine == "native"), role
        assert sum(ARCHIVED_CLASS in line for line in native) * 2 >= len(native), role


def run_as_job(text: str, folder: Path) -> JobResult:
    """Run the text of a script like a job."""
    script = folder / "job.py"
    script.write_text(text)
    job = dataclasses.replace(views_job(load_settings()), application=str(script), arguments=())
    return run(job, "local[1]", {"OHLCV_HOME": str(folder / "home")})


JOB = """
import sys
import pyspark
from ohlcv.config.execution import ENGINES, Engine
from ohlcv.config.settings import load_settings
from spark_jobs.runtime.session import open_session

spark = open_session(load_settings(), "imported modules")
assert spark.range(3).count() == 3
print(pyspark.__file__, "pandas" in sys.modules)
"""


def test_the_driver_imports_the_installed_pyspark_and_no_pandas(tmp_path: Path) -> None:
    """Sources in a zip of the Spark home would be compiled at every start. The import of pandas takes 0.5 s."""
    result = run_as_job(JOB, tmp_path)
    assert (result.exit_code, result.last_line) == (0, f"{packaged_spark_home() / '__init__.py'} False"), result.log


COUNT_LOOKUPS = """
from py4j.java_gateway import GatewayClient
from pyspark.sql import functions as F
from ohlcv.config.execution import ENGINES, Engine
from ohlcv.config.settings import load_settings
from spark_jobs.runtime.session import open_session

commands = []
send = GatewayClient.send_command
GatewayClient.send_command = lambda client, command, *rest, **more: (
    commands.append(command.split("\\n")[:3]), send(client, command, *rest, **more)
)[1]
spark = open_session(load_settings(), "class lookups")
for _ in range(2):
    commands.clear()
    columns = F.col("a").cast("long"), F.lit(1), F.coalesce("a", "b")
names = [name for kind, *name in commands if kind == "r"]
print(names, len(commands) > 0, spark.range(3).where(F.col("id") > F.lit(0)).count())
"""


def test_class_lookups_are_cached(tmp_path: Path) -> None:
    """Without the cache pyspark looks up the same Java classes for every column, a thousand times in a run."""
    result = run_as_job(COUNT_LOOKUPS, tmp_path)
    assert (result.exit_code, result.last_line) == (0, "[] True 2"), result.log


def test_a_job_succeeds_with_an_archive_of_another_class_path(cluster: LocalCluster, tmp_path: Path) -> None:
    for role, lines in class_loading_logs(cluster, tmp_path, class_path_suffix=f":{tmp_path}").items():
        assert lines, role
        assert not any(ARCHIVED_CLASS in line for line in lines), role


def test_the_number_of_archived_classes_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_current():
        create_archives()
    assert all(count_archived_classes(role, engine) > 1000 for role in ROLES for engine in ENGINES)
    monkeypatch.setattr("ohlcv.spark.spark_submit.archive_path", lambda role, engine: tmp_path / "none.jsa")
    assert count_archived_classes("driver") == 0
