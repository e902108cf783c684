"""spark-submit command lines and results of jobs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.config.values import megabytes
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.intervals import Range, from_microseconds
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES
from ohlcv.spark import spark_submit
from ohlcv.spark.jars import jar_paths, library_folder
from ohlcv.spark.spark_submit import (
    JobResult,
    SparkJob,
    build_job,
    catalog_check_job,
    check_master,
    job_environment,
    maintenance_job,
    profile_path,
    reprocess_job,
    run,
    script_folder,
    start_job,
    views_job,
)
from ohlcv.spark.toolchain import ROLES, archive_path, spark_home
from spark_jobs.jobs.build_candles import read_request
from support.profiles import profile_properties

OWN_RANGE = Range(from_microseconds(1_772_366_400_000_000), from_microseconds(1_772_370_000_000_000))
CLUSTER = "spark://spark.example:7077"


def settings_with_password(**more: str) -> Settings:
    return load_settings(
        {
            "OHLCV_CATALOG_URI": "postgresql://candles@db/market",
            "OHLCV_CATALOG_PASSWORD": "hunter2",
            **more,
        }
    )


def options(command: list[str]) -> dict[str, str]:
    """Return the options before the application. Each has a value."""
    end = next(index for index, argument in enumerate(command) if argument.endswith(".py"))
    pairs = list(zip(command[1:end:2], command[2:end:2], strict=True))
    values = dict(pair for pair in pairs if pair[0] != "--conf")
    return values | dict(value.split("=", 1) for name, value in pairs if name == "--conf")


def arguments(command: list[str]) -> list[str]:
    end = next(index for index, argument in enumerate(command) if argument.endswith(".py"))
    return command[end:]


@pytest.mark.parametrize("name", DEFAULT_TIMEFRAMES)
def test_cluster_command_line_of_each_timeframe(name: str) -> None:
    command = build_job(settings_with_password(), name, OWN_RANGE).command(CLUSTER)
    assert command[0] == str(spark_home() / "bin" / "spark-submit")
    class_path = ":".join(map(str, jar_paths()))
    assert options(command) == {
        "--master": CLUSTER,
        "--deploy-mode": "client",
        "--driver-memory": "512m",
        "--properties-file": str(profile_path("quick")),
        "--executor-memory": "1024m",
        "--executor-cores": "1",
        "--total-executor-cores": "1",
        "spark.driver.extraClassPath": class_path,
        "spark.executor.extraClassPath": class_path,
        "spark.driver.extraJavaOptions": f"-XX:SharedArchiveFile={archive_path('driver')}",
        "spark.executor.extraJavaOptions": f"-XX:SharedArchiveFile={archive_path('executor')}",
        "spark.sql.shuffle.partitions": "1",
    }
    script = "ohlcv_incremental.py" if name in ("1m", "5m") else "ohlcv_batch.py"
    assert arguments(command) == [
        str(script_folder() / script),
        *("--timeframe", name, "--start", "2026-03-01T12:00:00Z", "--end", "2026-03-01T13:00:00Z"),
        *("--rebuild-pending", "no", "--prune", "no", "--dag-id", "", "--run-id", ""),
    ]
    assert Path(arguments(command)[0]).is_file()


def test_accepting_a_new_source_is_one_more_argument() -> None:
    job = build_job(settings_with_password(), "1m", OWN_RANGE)
    accepting = build_job(settings_with_password(), "1m", OWN_RANGE, new_source=True)
    assert accepting.arguments == (*job.arguments, "--new-source", "yes")


def reprocess(settings: Settings) -> SparkJob:
    return reprocess_job(settings, day="2026-03-01", until="", timeframes="1m", prune="no", dry_run="no")


def test_only_the_reprocessing_executor_uses_the_optimising_compiler() -> None:
    job = reprocess(settings_with_password(OHLCV_REPROCESS_EXECUTION="jvm"))
    assert options(job.command(CLUSTER))["--properties-file"] == str(profile_path("throughput"))
    quick, throughput = profile_properties("quick"), profile_properties("throughput")
    assert {name for name in quick if quick[name] != throughput.get(name)} == {"spark.executor.defaultJavaOptions"}
    assert quick.keys() == throughput.keys()


def test_native_jobs_have_the_settings_of_reprocessing_and_a_class_path_of_their_own() -> None:
    job = reprocess(settings_with_password())
    assert options(job.command(CLUSTER))["--properties-file"] == str(profile_path("native"))
    native, throughput = profile_properties("native"), profile_properties("throughput")
    assert native.items() >= throughput.items()
    assert native["spark.plugins"] == "org.apache.spark.CometPlugin"
    for role in ROLES:
        assert job.conf[f"spark.{role}.extraClassPath"] == ":".join(map(str, jar_paths("native")))
        assert job.conf[f"spark.{role}.extraJavaOptions"] == (
            f"-XX:SharedArchiveFile={archive_path(role, 'native')} -Djava.library.path={library_folder()}"
        )


@pytest.mark.parametrize(
    ("memory", "parts"),
    [("1024m", (512, 384, 128)), ("2g", (819, 1025, 204)), ("10g", (4096, 5120, 1024))],
)
def test_the_parts_of_the_memory_of_a_native_executor_are_its_budget(memory: str, parts: tuple[int, ...]) -> None:
    job = reprocess(settings_with_password(OHLCV_1D_EXECUTOR_MEMORY=memory))
    names = ("spark.memory.offHeap.size", "spark.executor.memoryOverhead")
    found = [job.executor_memory, *(job.conf[name] for name in names)]
    assert found == [f"{part}m" for part in parts]
    assert sum(parts) == megabytes(memory)


def test_a_timeframe_opts_in_to_native_execution() -> None:
    settings = settings_with_password(OHLCV_1D_EXECUTION="native", OHLCV_1H_EXECUTION="shadow")
    found = {name: build_job(settings, name, OWN_RANGE).profile for name in DEFAULT_TIMEFRAMES}
    assert found == {"1m": "quick", "5m": "quick", "30m": "quick", "1h": "native", "1d": "native"}
    # Maintenance aggregates no trades.
    assert maintenance_job(settings, "1d", steps="compact", as_of="2026-03-01").profile == "quick"
    # A setting of all timeframes does not concern reprocessing.
    of_timeframes = settings_with_password(OHLCV_EXECUTION="native", OHLCV_REPROCESS_EXECUTION="jvm")
    assert build_job(of_timeframes, "1m", OWN_RANGE).profile == "native"
    assert reprocess(of_timeframes).profile == "throughput"


@pytest.mark.parametrize(
    "more", [{"OHLCV_NATIVE": "no"}, {"OHLCV_1D_EXECUTOR_MEMORY": "1000m"}], ids=["switched off", "too little memory"]
)
def test_a_job_that_cannot_run_natively_has_a_profile_of_the_jvm(more: dict[str, str]) -> None:
    settings = settings_with_password(OHLCV_1D_EXECUTION="native", **more)
    assert reprocess(settings).profile == "throughput"
    assert build_job(settings, "1d", OWN_RANGE).profile == "quick"


def test_without_the_jar_of_native_execution_jobs_have_a_profile_of_the_jvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHLCV_JAR_SETS", "aws")
    assert reprocess(settings_with_password()).profile == "throughput"


def test_a_local_job_has_no_executor_options_and_more_driver_memory() -> None:
    found = options(build_job(settings_with_password(), "1m", OWN_RANGE).command("local[*]"))
    assert {name for name in found if name.startswith("--")} == {
        "--master",
        "--driver-memory",
        "--properties-file",
    }
    assert found["--driver-memory"] == "2g"


@pytest.mark.parametrize(
    ("master", "host"),
    [("local[*]", "127.0.0.1"), ("spark://127.0.0.1:7077", "127.0.0.1"), (CLUSTER, None), ("spark://10.0.0.5", None)],
)
def test_the_driver_advertises_the_loopback_address_only_to_a_local_master(
    monkeypatch: pytest.MonkeyPatch, master: str, host: str | None
) -> None:
    names = ("SPARK_LOCAL_IP", "SPARK_LOCAL_HOSTNAME")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    environment = job_environment(master)
    assert {environment.get(name) for name in names} == {host}
    # The Spark environment and the variables of this process are included.
    assert {"JAVA_HOME", "SPARK_HOME", "PYSPARK_PYTHON", "PATH"} <= environment.keys()


def test_tuning_changes_only_the_command_line_of_its_timeframe() -> None:
    settings = settings_with_password(
        OHLCV_1D_EXECUTOR_MEMORY="4g",
        OHLCV_1D_EXECUTOR_CORES="3",
        OHLCV_1D_DRIVER_MEMORY="768m",
        OHLCV_1D_SHUFFLE_PARTITIONS="12",
    )
    tuned = options(build_job(settings, "1d", OWN_RANGE).command(CLUSTER))
    names = ("--executor-memory", "--executor-cores", "--total-executor-cores", "--driver-memory")
    assert [tuned[name] for name in names] == ["4g", "3", "3", "768m"]
    assert tuned["spark.sql.shuffle.partitions"] == "12"
    assert build_job(settings, "1h", OWN_RANGE) == build_job(settings_with_password(), "1h", OWN_RANGE)


def test_arguments_are_passed_unchanged() -> None:
    job = build_job(
        settings_with_password(),
        "1h",
        OWN_RANGE,
        rebuild_pending=True,
        prune=True,
        dag_id="ohlcv_1h",
        run_id="manual__2026 x;$(id)",
    )
    assert job.arguments[6:] == (
        *("--rebuild-pending", "yes", "--prune", "yes"),
        *("--dag-id", "ohlcv_1h", "--run-id", "manual__2026 x;$(id)"),
    )
    assert arguments(views_job(load_settings({})).command(CLUSTER)) == [str(script_folder() / "ohlcv_views.py")]
    assert catalog_check_job(load_settings({}), "ohlcv_doctor_1").arguments == ("--scratch", "ohlcv_doctor_1")


def test_the_job_script_parses_the_arguments_of_the_command_line() -> None:
    """A type checker cannot compare the two sides of a command line."""
    job = build_job(
        settings_with_password(), "1m", OWN_RANGE, rebuild_pending=True, dag_id="ohlcv_1m", run_id="manual__x"
    )
    request = read_request("ohlcv_incremental.py", settings_with_password(), list(job.arguments))
    assert (request.timeframe.name, request.own_range) == ("1m", OWN_RANGE)
    assert (request.rebuild_pending, request.prune) == (True, False)
    assert (request.dag_id, request.run_id) == ("ohlcv_1m", "manual__x")


def test_command_lines_contain_no_secrets() -> None:
    for job in (
        views_job(load_settings({})),
        *(build_job(settings_with_password(), name, OWN_RANGE, rebuild_pending=True) for name in DEFAULT_TIMEFRAMES),
    ):
        for master in ("local[2]", CLUSTER):
            command = " ".join(job.command(master))
            assert "hunter2" not in command
            # The address of the catalog is not there either: the job reads its settings from the environment.
            assert "jdbc" not in command.replace("sqlite-jdbc", "")
        assert "hunter2" not in repr(job)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_an_unreachable_master_is_reported_before_the_job_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def start_job(*_: object) -> None:
        raise AssertionError("a job was started")

    monkeypatch.setattr(spark_submit, "start_job", start_job)
    master = f"spark://127.0.0.1:{closed_port()}"
    with pytest.raises(OhlcvError, match=rf"^the Spark master {master} does not answer .*refused.*: start it or check"):
        check_master(master)
    with pytest.raises(OhlcvError, match="does not answer"):
        run(views_job(load_settings({})), master)
    with pytest.raises(AssertionError, match="a job was started"):
        run(views_job(load_settings({})), "local[1]")


@pytest.mark.parametrize("address", ["127.0.0.1:many", "127.0.0.1:65536", "127.0.0.1:\u00b2", ":7077x", ""])
def test_an_invalid_master_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match=f"^'spark://{address}' is not a Spark master such as spark://host:7077"):
        check_master(f"spark://{address}")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64, "a..b"])
def test_an_unknown_host_of_a_master_is_reported(host: str) -> None:
    with pytest.raises(OhlcvError, match=f"^the Spark master spark://{host}:7077 does not answer"):
        check_master(f"spark://{host}:7077")


def test_one_reachable_master_of_several_is_enough() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_master(f"spark://127.0.0.1:{closed_port()},127.0.0.1:{server.getsockname()[1]}")


def test_local_mode_needs_no_master() -> None:
    check_master("local[*]")


@pytest.mark.parametrize(
    ("log", "error"),
    [
        ("", "no output"),
        ("\n \n", "no output"),
        ("one\ntwo\n", "two"),
        ("26/03/01 WARN x\nerror: the lock is held: wait\n26/03/01 INFO shut down\n", "the lock is held: wait"),
        ("error: the first\nTraceback\nerror: the last\nnoise", "the last"),
        # Only at the start of a line: other programs print errors too.
        ("java.lang.error: no\nsome error: no\nnoise", "noise"),
        ("error: price 'error: 1' is bad", "price 'error: 1' is bad"),
    ],
)
def test_the_error_of_a_job_is_its_last_error_line_or_last_line(log: str, error: str) -> None:
    assert JobResult(1, "", log).error == error


@pytest.fixture
def fake_spark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path at which a test puts a shell script instead of spark-submit."""
    script = tmp_path / "bin" / "spark-submit"
    script.parent.mkdir()
    monkeypatch.setattr(spark_submit, "spark_home", lambda: tmp_path)
    return script


def shell_job(script: Path, text: str) -> SparkJob:
    script.write_text(f"#!/usr/bin/env bash\n{text}\n")
    script.chmod(0o755)
    return views_job(load_settings({}))


def test_the_result_contains_the_last_line_of_stdout(fake_spark: Path) -> None:
    job = shell_job(fake_spark, "echo noise; echo log >&2; echo '{\"a\": 1}'; echo")
    result = run(job, "local[1]")
    assert (result.exit_code, result.last_line) == (0, '{"a": 1}')
    assert "noise" in result.log
    assert "log" in result.log


@pytest.mark.parametrize("stream", [1, 2])
def test_the_error_line_of_a_failed_job_is_found_on_both_streams(fake_spark: Path, stream: int) -> None:
    job = shell_job(fake_spark, f"echo 'error: it broke' >&{stream}; echo late noise >&2; exit 3")
    result = run(job, "local[1]")
    assert (result.exit_code, result.error) == (3, "it broke")


def test_a_job_with_much_output_does_not_block(fake_spark: Path) -> None:
    result = run(shell_job(fake_spark, "yes | head -c 2000000; yes | head -c 2000000 >&2; echo end"), "local[1]")
    assert result.last_line == "end"


def test_leaving_the_block_terminates_a_running_job(fake_spark: Path) -> None:
    job = shell_job(fake_spark, "exec sleep 60")
    with start_job(job, "local[1]") as process:
        os.kill(process.pid, 0)
    assert process.returncode == -signal.SIGTERM
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()


def test_a_job_is_terminated_after_its_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []

    def command(*_: object) -> list[str]:
        return ["sleep", "600"]

    def popen(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        started.append(subprocess_popen(*arguments, **options))
        return started[-1]

    subprocess_popen = subprocess.Popen
    monkeypatch.setattr(SparkJob, "command", command)
    monkeypatch.setattr("ohlcv.spark.spark_submit.subprocess.Popen", popen)
    with pytest.raises(OhlcvError, match=r"^the Spark job has not ended within 0.1 s: check that the workers of local"):
        run(views_job(load_settings({})), "local[1]", seconds=0.1)
    assert started[0].returncode is not None


def test_a_job_whose_catalog_needs_another_jar_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHLCV_JAR_SETS", "hive")
    settings = load_settings({"OHLCV_WAREHOUSE": "s3://bucket/candles"})
    with pytest.raises(OhlcvError, match=r"needs the jar set aws: run 'OHLCV_JAR_SETS=aws,hive make setup'$"):
        build_job(settings, "1m", OWN_RANGE)


def test_the_error_of_a_killed_job_points_to_the_memory() -> None:
    log = "26/11/27 10:00:00 WARN NativeCodeLoader: Unable to load native-hadoop library"
    assert "killed (SIGKILL)" in JobResult(-signal.SIGKILL, "", log).error
    assert "too little memory" in JobResult(-signal.SIGKILL, "", log).error
    assert JobResult(-signal.SIGKILL, "", f"{log}\nerror: the cause").error == "the cause"
