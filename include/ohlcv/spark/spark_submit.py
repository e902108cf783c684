"""The spark-submit of every job: one description, from which the DAGs and the command line both start it."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ohlcv.config.settings import Settings, Tuning
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.intervals import Range, iso
from ohlcv.model.timeframes import Strategy
from ohlcv.spark.toolchain import ROLES, archive_path, jar_paths, spark_environment, spark_home

SCRIPTS: dict[Strategy, str] = {"merge": "ohlcv_incremental.py", "overwrite": "ohlcv_batch.py"}
REPROCESS_SCRIPT = "ohlcv_reprocess.py"
VIEWS_SCRIPT = "ohlcv_views.py"
MAINTENANCE_SCRIPT = "ohlcv_maintenance.py"
SQL_SCRIPT = "ohlcv_sql.py"
# Without a cluster the driver does the executors' work too.
LOCAL_MASTER = "local[*]"
LOCAL_DRIVER_MEMORY = "2g"


# How Spark is set for a kind of job: the files beside this module say what and why.
Profile = Literal["quick", "throughput"]


def profile_path(profile: Profile) -> Path:
    """Give the properties file of a profile."""
    return Path(__file__).parent / f"{profile}.properties"


@dataclass(frozen=True)
class SparkJob:
    """What SparkSubmitOperator and the command line need to know to start a job."""

    application: str
    arguments: tuple[str, ...]
    profile: Profile
    # What depends on the machine or the timeframe, on top of the profile.
    conf: Mapping[str, str]
    driver_memory: str
    executor_memory: str
    executor_cores: int

    def command(self, master: str) -> list[str]:
        """Give the command line; secrets are not on it, the job reads them from its environment."""
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
    own: Range,
    *,
    repair: bool = False,
    prune: bool = False,
    dag_id: str = "",
    run_id: str = "",
) -> SparkJob:
    """Describe the job that builds one timeframe's candles of a range."""
    words = {True: "yes", False: "no"}
    return templated_job(
        settings,
        timeframe,
        start=iso(own.start),
        end=iso(own.end),
        repair=words[repair],
        prune=words[prune],
        dag_id=dag_id,
        run_id=run_id,
    )


def templated_job(
    settings: Settings,
    timeframe: str,
    *,
    start: str,
    end: str,
    repair: str,
    prune: str,
    dag_id: str,
    run_id: str,
) -> SparkJob:
    """Describe the same job by texts, which may be Airflow's templates."""
    strategy = settings.timeframe(timeframe).strategy
    arguments = [
        *("--timeframe", timeframe),
        *("--start", start),
        *("--end", end),
        *("--repair", repair),
        *("--prune", prune),
        *("--dag-id", dag_id),
        *("--run-id", run_id),
    ]
    return _job(SCRIPTS[strategy], arguments, settings.tuning[timeframe])


def reprocess_job(
    settings: Settings,
    *,
    day: str,
    until: str,
    timeframes: str,
    prune: str,
    dry_run: str,
    dag_id: str = "",
    run_id: str = "",
) -> SparkJob:
    """Describe the job that rebuilds a day in several timeframes, by texts which may be Airflow's templates."""
    arguments = [
        *("--day", day),
        *("--until", until),
        *("--timeframes", timeframes),
        *("--prune", prune),
        *("--dry-run", dry_run),
        *("--dag-id", dag_id),
        *("--run-id", run_id),
    ]
    # It reads whole days, as the longest timeframe does.
    return _job(REPROCESS_SCRIPT, arguments, settings.tuning[list(settings.tuning)[-1]], "throughput")


def maintenance_job(
    settings: Settings,
    timeframe: str,
    *,
    steps: str,
    as_of: str,
    days: str = "",
    dag_id: str = "",
    run_id: str = "",
) -> SparkJob:
    """Describe the job that keeps one table, by texts which may be Airflow's templates."""
    arguments = [
        *("--timeframe", timeframe),
        *("--steps", steps),
        *("--as-of", as_of),
        *("--days", days),
        *("--dag-id", dag_id),
        *("--run-id", run_id),
    ]
    return _job(MAINTENANCE_SCRIPT, arguments, settings.tuning[timeframe])


def views_job() -> SparkJob:
    """Describe the job that creates the views."""
    return _job(VIEWS_SCRIPT, [], Tuning())


def sql_job(statements: Sequence[str], limit: int) -> SparkJob:
    """Describe the job that runs SQL statements."""
    return _job(SQL_SCRIPT, ["--limit", str(limit), "--", *statements], Tuning())


def _job(script: str, arguments: list[str], tuning: Tuning, profile: Profile = "quick") -> SparkJob:
    class_path = ":".join(str(path) for path in jar_paths())
    return SparkJob(
        application=str(script_folder() / script),
        arguments=tuple(arguments),
        profile=profile,
        conf={
            # On the class path from the start: --jars would copy them to every executor at every run.
            "spark.driver.extraClassPath": class_path,
            "spark.executor.extraClassPath": class_path,
            **{f"spark.{role}.extraJavaOptions": f"-XX:SharedArchiveFile={archive_path(role)}" for role in ROLES},
            "spark.sql.shuffle.partitions": str(tuning.shuffle_partitions),
        },
        driver_memory=tuning.driver_memory,
        executor_memory=tuning.executor_memory,
        executor_cores=tuning.executor_cores,
    )


def script_folder() -> Path:
    """Give the folder of the job scripts."""
    found = importlib.util.find_spec("spark_jobs")
    if found is None or found.origin is None:
        raise OhlcvError("the package spark_jobs is not installed: run 'make setup'")
    return Path(found.origin).parent


def job_environment(master: str) -> dict[str, str]:
    """Give the environment of a job's spark-submit."""
    host = urlsplit(master).hostname if master.startswith("spark://") else "127.0.0.1"
    # A driver on the master's own loopback must not announce a name that only the outside resolves.
    loopback = {"SPARK_LOCAL_IP": host, "SPARK_LOCAL_HOSTNAME": host} if host in ("127.0.0.1", "localhost") else {}
    return spark_environment() | loopback


def check_master(master: str) -> None:
    """Find an unreachable master at once: Spark itself would try for a minute."""
    if master.startswith("local"):
        return
    if not master.startswith("spark://"):
        raise InputError(f"'{master}' is not a Spark master such as spark://host:7077 or local[2]")
    errors = []
    # spark://a:7077,b:7077 names several masters; one that answers is enough.
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.partition(":")
        try:
            with socket.create_connection((host, int(port or 7077)), timeout=5):
                return
        except (OSError, ValueError) as error:
            errors.append(f"{address}: {error}")
    raise OhlcvError(f"the Spark master {master} does not answer ({'; '.join(errors)}): start it or check the address")


@contextmanager
def started(
    job: SparkJob, master: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start a job, with settings of its own where given; leaving the block ends it if it still runs."""
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
class JobOutcome:
    """How a job ended: its last line on stdout, and its log."""

    exit_code: int
    last_line: str
    log: str

    @property
    def error(self) -> str:
        """Give the line that says what went wrong."""
        lines = [line for line in self.log.strip().splitlines() if not line.startswith("\tat ")]
        named = [line for line in lines if line.startswith("error: ")]
        return (named or lines or ["it said nothing"])[-1].removeprefix("error: ")


def run(job: SparkJob, master: str, environment: Mapping[str, str] | None = None) -> JobOutcome:
    """Run a job to its end."""
    check_master(master)
    with started(job, master, environment) as process:
        output, log = process.communicate()
    # spark-submit joins the driver's stderr to its own stdout; its stderr is the JVM's log.
    return JobOutcome(process.returncode, (output.strip().splitlines() or [""])[-1], log + output)
