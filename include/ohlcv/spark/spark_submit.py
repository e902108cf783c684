"""spark-submit command lines of all jobs, used by the DAGs and by the ohlcv command."""

from __future__ import annotations

import importlib.util
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ohlcv.config.execution import Engine, find_jvm_reason
from ohlcv.config.maintained_tables import RECORD_TABLES
from ohlcv.config.settings import Settings, Tuning
from ohlcv.config.values import is_spark_master, megabytes, redacted
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.intervals import Range, iso
from ohlcv.spark.jars import chosen_engines, find_missing_set, jar_paths, library_folder
from ohlcv.spark.job_protocol import ERROR_PREFIX
from ohlcv.spark.toolchain import ROLES, archive_path, spark_environment, spark_home

REPROCESS_SCRIPT = "ohlcv_reprocess.py"
VIEWS_SCRIPT = "ohlcv_views.py"
MAINTENANCE_SCRIPT = "ohlcv_maintenance.py"
SQL_SCRIPT = "ohlcv_sql.py"
CATALOG_CHECK_SCRIPT = "ohlcv_check_catalog.py"
NATIVE_CHECK_SCRIPT = "ohlcv_check_native.py"
# In local mode the driver also does the work of the executors, so it needs more memory.
LOCAL_MASTER = "local[*]"
LOCAL_DRIVER_MEMORY = "2g"
# Spark settings of a kind of job. The .properties files next to this module hold and explain them.
Profile = Literal["quick", "throughput", "native"]
# Parts of an executor's memory in a native job: heap, and the overhead of the JVM and of native scans, which is not
# limited. The rest is off-heap memory. Spark refuses a heap below 450 MB.
HEAP_PERCENT, MIN_HEAP = 40, 512
OVERHEAD_PERCENT, MIN_OVERHEAD = 10, 128


def profile_path(profile: Profile) -> Path:
    """Return the properties file of a profile."""
    return Path(__file__).parent / f"{profile}.properties"


@dataclass(frozen=True)
class SparkJob:
    """Parameters of one spark-submit call, for SparkSubmitOperator and for the ohlcv command."""

    application: str
    arguments: tuple[str, ...]
    profile: Profile
    # Settings that depend on the machine or the timeframe. They override those of the profile.
    conf: Mapping[str, str]
    driver_memory: str
    executor_memory: str
    executor_cores: int

    def command(self, master: str) -> list[str]:
        """Return the command line. It contains no secrets: the job reads them from its environment."""
        is_local = master.startswith("local")
        options = [
            *("--master", master),
            *("--driver-memory", LOCAL_DRIVER_MEMORY if is_local else self.driver_memory),
            *("--properties-file", str(profile_path(self.profile))),
        ]
        if not is_local:
            options += [
                *("--deploy-mode", "client"),
                *("--executor-memory", self.executor_memory),
                *("--executor-cores", str(self.executor_cores)),
                *("--total-executor-cores", str(self.executor_cores)),
            ]
        for name, value in self.conf.items():
            options += ["--conf", f"{name}={value}"]
        return [str(spark_home() / "bin" / "spark-submit"), *options, self.application, *self.arguments]


def build_job(
    settings: Settings,
    timeframe: str,
    own_range: Range,
    *,
    rebuild_pending: bool = False,
    prune: bool = False,
    new_source: bool = False,
    dag_id: str = "",
    run_id: str = "",
) -> SparkJob:
    """Return the job that builds the candles of one timeframe in a range."""
    yes_no = {True: "yes", False: "no"}
    job = templated_job(
        settings,
        timeframe,
        start=iso(own_range.start),
        end=iso(own_range.end),
        rebuild_pending=yes_no[rebuild_pending],
        prune=yes_no[prune],
        dag_id=dag_id,
        run_id=run_id,
    )
    return replace(job, arguments=(*job.arguments, "--new-source", "yes")) if new_source else job


def templated_job(
    settings: Settings,
    timeframe: str,
    *,
    start: str,
    end: str,
    rebuild_pending: str,
    prune: str,
    dag_id: str,
    run_id: str,
) -> SparkJob:
    """Return the same job built from strings, which can be Airflow templates."""
    arguments = [
        *("--timeframe", timeframe),
        *("--start", start),
        *("--end", end),
        *("--rebuild-pending", rebuild_pending),
        *("--prune", prune),
        *("--dag-id", dag_id),
        *("--run-id", run_id),
    ]
    tuning = settings.tuning[timeframe]
    profile = _profile(settings, tuning, "quick")
    return _job(settings, settings.timeframe(timeframe).script, arguments, tuning, profile)


def reprocess_job(
    settings: Settings,
    *,
    day: str,
    until: str,
    timeframes: str,
    prune: str,
    dry_run: str,
    new_source: str = "no",
    dag_id: str = "",
    run_id: str = "",
) -> SparkJob:
    """Return the job that rebuilds a day in several timeframes. The strings can be Airflow templates."""
    arguments = [
        *("--day", day),
        *("--until", until),
        *("--timeframes", timeframes),
        *("--prune", prune),
        *("--dry-run", dry_run),
        *("--new-source", new_source),
        *("--dag-id", dag_id),
        *("--run-id", run_id),
    ]
    tuning = settings.reprocess_tuning
    return _job(settings, REPROCESS_SCRIPT, arguments, tuning, _profile(settings, tuning, "throughput"))


def maintenance_job(
    settings: Settings,
    table: str,
    *,
    steps: str,
    as_of: str,
    days: str = "",
    keep_since: str | None = None,
    max_orphan_share: float | None = None,
    dag_id: str = "",
    run_id: str = "",
) -> SparkJob:
    """Return the job that maintains the candle table of a timeframe, or a record table.

    The strings can be Airflow templates.
    """
    is_record = table in RECORD_TABLES
    arguments = [
        *("--table" if is_record else "--timeframe", table),
        *("--steps", steps),
        *("--as-of", as_of),
        *("--days", days),
        *(() if keep_since is None else ("--keep-since", keep_since)),
        *(() if max_orphan_share is None else ("--max-orphan-share", str(max_orphan_share))),
        *("--dag-id", dag_id),
        *("--run-id", run_id),
    ]
    tuning = settings.reprocess_tuning if is_record else settings.tuning[table]
    return _job(settings, MAINTENANCE_SCRIPT, arguments, tuning)


def views_job(settings: Settings) -> SparkJob:
    """Return the job that creates the views."""
    return _job(settings, VIEWS_SCRIPT, [], Tuning())


def sql_job(settings: Settings, statements: Sequence[str], limit: int) -> SparkJob:
    """Return the job that runs SQL statements."""
    return _job(settings, SQL_SCRIPT, ["--limit", str(limit), "--", *statements], Tuning())


def catalog_check_job(settings: Settings, scratch: str) -> SparkJob:
    """Return the job that checks the catalog with a scratch table of this name."""
    return _job(settings, CATALOG_CHECK_SCRIPT, ["--scratch", scratch], Tuning())


def native_check_job(settings: Settings) -> SparkJob:
    """Return the job that checks native execution."""
    return _job(settings, NATIVE_CHECK_SCRIPT, [], settings.reprocess_tuning, "native")


def _profile(settings: Settings, tuning: Tuning, jvm: Profile) -> Profile:
    """Return the profile of a job, which is native where that is requested and possible."""
    is_native = tuning.execution != "jvm" and "native" in chosen_engines() and not find_jvm_reason(settings, tuning)
    return "native" if is_native else jvm


def _job(settings: Settings, script: str, arguments: list[str], tuning: Tuning, profile: Profile = "quick") -> SparkJob:
    if problem := find_missing_set(settings.catalog.jar_sets):
        raise OhlcvError(problem)
    engine: Engine = "native" if profile == "native" else "jvm"
    class_path = ":".join(str(path) for path in jar_paths(engine))
    options = f" -Djava.library.path={library_folder()}" if engine == "native" else ""
    heap, memory = _native_memory(tuning) if engine == "native" else (tuning.executor_memory, {})
    return SparkJob(
        application=str(script_folder() / script),
        arguments=tuple(arguments),
        profile=profile,
        conf={
            # The jars are on the class path of all processes. --jars would copy them to each executor in each run.
            "spark.driver.extraClassPath": class_path,
            "spark.executor.extraClassPath": class_path,
            **{
                f"spark.{role}.extraJavaOptions": f"-XX:SharedArchiveFile={archive_path(role, engine)}{options}"
                for role in ROLES
            },
            "spark.sql.shuffle.partitions": str(tuning.shuffle_partitions),
            **memory,
        },
        driver_memory=tuning.driver_memory,
        executor_memory=heap,
        executor_cores=tuning.executor_cores,
    )


def _native_memory(tuning: Tuning) -> tuple[str, dict[str, str]]:
    """Return the heap of the executor of a native job, and the properties with the other parts of its memory.

    A standalone master reserves only the heap. The parts together are not larger than the heap of the other profiles,
    so that a worker needs no more memory.
    """
    total = megabytes(tuning.executor_memory)
    heap = max(MIN_HEAP, total * HEAP_PERCENT // 100)
    overhead = max(MIN_OVERHEAD, total * OVERHEAD_PERCENT // 100)
    return f"{heap}m", {
        "spark.memory.offHeap.size": f"{total - heap - overhead}m",
        "spark.executor.memoryOverhead": f"{overhead}m",
    }


def script_folder() -> Path:
    """Return the folder of the job scripts."""
    found = importlib.util.find_spec("spark_jobs")
    if found is None or found.origin is None:
        raise OhlcvError("the package spark_jobs is not installed: run 'make setup'")
    return Path(found.origin).parent


def job_environment(master: str) -> dict[str, str]:
    """Return the environment of spark-submit for a job."""
    host = urlsplit(master).hostname if master.startswith("spark://") else "127.0.0.1"
    # With a master on the loopback address the driver must not advertise a host name, which may not resolve here.
    loopback = {"SPARK_LOCAL_IP": host, "SPARK_LOCAL_HOSTNAME": host} if host in ("127.0.0.1", "localhost") else {}
    return spark_environment() | loopback


def check_master(master: str) -> None:
    """Raise OhlcvError if no master can be reached. Spark itself would retry for a minute."""
    if not is_spark_master(master):
        raise InputError(f"'{redacted(master)}' is not a Spark master such as spark://host:7077 or local[2]")
    if master.startswith("local"):
        return
    errors = []
    # spark://a:7077,b:7077 lists several masters. One that accepts connections is enough.
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.partition(":")
        try:
            with socket.create_connection((host, int(port or 7077)), timeout=5):
                return
        except (OSError, UnicodeError) as error:
            errors.append(f"{address}: {error}")
    raise OhlcvError(f"the Spark master {master} does not answer ({'; '.join(errors)}): start it or check the address")


@contextmanager
def start_job(
    job: SparkJob, master: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start a job with additional environment variables. Leaving the block terminates a job that still runs."""
    process = subprocess.Popen(
        job.command(master),
        env={**job_environment(master), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


@dataclass(frozen=True)
class JobResult:
    """Exit code, last line of stdout and log of a finished job."""

    exit_code: int
    last_line: str
    log: str

    @property
    def error(self) -> str:
        """Return the last error line of the log. Without one, say that the job was killed, or return the last line."""
        lines = [line for line in self.log.strip().splitlines() if not line.startswith("\tat ")]
        errors = [line for line in lines if line.startswith(ERROR_PREFIX)]
        if not errors and self.exit_code == -signal.SIGKILL:
            return (
                "the job was killed (SIGKILL); if by nobody, the machine or its container has too little memory "
                "('dmesg' shows it): free or add memory and run again"
            )
        return (errors or lines or ["no output"])[-1].removeprefix(ERROR_PREFIX)


def run(
    job: SparkJob, master: str, environment: Mapping[str, str] | None = None, seconds: float | None = None
) -> JobResult:
    """Run a job, wait until it ends and return its result. Terminate it after a number of seconds."""
    check_master(master)
    with start_job(job, master, environment) as process:
        try:
            output, log = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.terminate()
            # Reads and closes the pipes.
            process.communicate()
            raise OhlcvError(
                f"the Spark job has not ended within {seconds:g} s: check that the workers of {master} have free cores"
            ) from None
    # spark-submit writes the stderr of the Python driver to its own stdout. Its stderr is the log of the JVM.
    return JobResult(process.returncode, (output.strip().splitlines() or [""])[-1], log + output)
