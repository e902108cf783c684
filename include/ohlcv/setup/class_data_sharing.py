"""Class data sharing (CDS): archives of loaded classes that halve the start time of a JVM.

Setup runs a job of each engine and writes one archive for drivers and one for executors
(`python -m ohlcv.setup.class_data_sharing`). A JVM of another version or with another class path ignores an archive
without a message. Jobs then start more slowly and still succeed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ohlcv.config.execution import Engine
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range
from ohlcv.setup.slim_spark_home import create_slim_home
from ohlcv.spark.jars import chosen_engines, jar_paths
from ohlcv.spark.job_protocol import CODE_GENERATION_MIN_TRADES
from ohlcv.spark.processes import descendants
from ohlcv.spark.spark_submit import SparkJob, build_job, run
from ohlcv.spark.toolchain import ROLES, Role, archive_folder, archive_path, java_home, spark_environment, spark_home

if TYPE_CHECKING:
    from ohlcv.spark.local_cluster import LocalCluster

# An executor writes its archive during its shutdown, after the driver has ended. That takes seconds, or a minute on a
# busy machine.
DUMP_SECONDS = 180.0
POLL_SECONDS = 0.2
# Text in the class loading log of a JVM for a class from one of our archives. Java's own archive is not marked "(top)".
ARCHIVED_CLASS = "source: shared objects file (top)"


def fingerprint(engine: Engine) -> str:
    """Return a hash of what a JVM checks before it uses an archive: its version, the jars, their sizes and times."""
    parts = [(java_home() / "release").read_text()] if (java_home() / "release").exists() else [str(java_home())]
    for path in [*jar_paths(engine), *sorted((spark_home() / "jars").glob("*.jar"))]:
        status = path.stat()
        # Whole seconds: the layers of an image store no fractions, and a JVM does not compare them.
        parts.append(f"{path} {status.st_size} {int(status.st_mtime)}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def is_current() -> bool:
    """Return whether all archives exist and match the Java and the jars of this machine."""
    return not _outdated()


def _outdated() -> list[Engine]:
    """Return the engines whose archives are missing or do not match."""
    return [engine for engine in chosen_engines() if not _is_current(engine)]


def _is_current(engine: Engine) -> bool:
    try:
        is_same = _fingerprint_file(engine).read_text() == fingerprint(engine)
    except OSError:
        return False
    return is_same and all(archive_path(role, engine).is_file() for role in ROLES)


def count_archived_classes(role: Role, engine: Engine = "jvm") -> int:
    """Return how many classes a JVM with a job's class path loads from the archive of a role."""
    options = _job(job_settings(""), engine, datetime.now(UTC)).conf
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "classes"
        conf = {
            "spark.driver.extraClassPath": options[f"spark.{role}.extraClassPath"],
            "spark.driver.extraJavaOptions": f"{options[f'spark.{role}.extraJavaOptions']} -Xlog:class+load:file={log}",
        }
        arguments = [argument for name, value in conf.items() for argument in ("--conf", f"{name}={value}")]
        command = [str(spark_home() / "bin" / "spark-submit"), *arguments, "--version"]
        subprocess.run(command, env=spark_environment(), capture_output=True, check=False)
        return log.read_text().count(ARCHIVED_CLASS) if log.exists() else 0


def create_archives() -> None:
    """Run a job of each engine on a cluster of one worker and let both of its JVMs write their loaded classes."""
    from ohlcv.config.settings import load_settings
    from ohlcv.iceberg.tables import create_tables
    from ohlcv.ingest.loader import append_trades
    from ohlcv.ingest.sample_data import Feed
    from ohlcv.spark.local_cluster import local_cluster

    begin = datetime(2026, 3, 1, 10, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as folder:
        home = job_settings(f"{folder}/home")
        settings = load_settings(home)
        create_tables(settings)
        # Enough trades to turn on code generation, so that the archives also contain the classes of the compiler.
        append_trades(settings, Feed(begin).batch(begin + timedelta(hours=1), CODE_GENERATION_MIN_TRADES))
        with local_cluster(Path(folder) / "spark") as cluster:
            # This run stores candles. Those that are recorded read, compare and overwrite them.
            _run(_job(home, "jvm", begin), home, cluster)
            for number, engine in enumerate(_outdated(), 1):
                _create_archives(engine, _job(home, engine, begin + number * timedelta(minutes=10)), home, cluster)


def _create_archives(engine: Engine, job: SparkJob, home: dict[str, str], cluster: LocalCluster) -> None:
    _fingerprint_file(engine).unlink(missing_ok=True)
    for role in ROLES:
        archive_path(role, engine).parent.mkdir(parents=True, exist_ok=True)
        archive_path(role, engine).unlink(missing_ok=True)
    with _postponed_executor_kill(cluster):
        _run(_with_archive_output(job, engine), _with_engine(home, engine), cluster)
    if not all(archive_path(role, engine).is_file() for role in ROLES):
        raise OhlcvError("the JVM wrote no CDS archive: check that this Java supports -XX:ArchiveClassesAtExit")
    _fingerprint_file(engine).write_text(fingerprint(engine))


def _job(home: dict[str, str], engine: Engine, begin: datetime) -> SparkJob:
    """Return a job that builds candles from this time on."""
    from ohlcv.config.settings import load_settings

    own_range = Range(begin, begin + timedelta(minutes=20))
    return build_job(load_settings(_with_engine(home, engine)), "1m", own_range, rebuild_pending=True)


def _with_engine(home: dict[str, str], engine: Engine) -> dict[str, str]:
    return {**home, "OHLCV_1M_EXECUTION": engine}


def _run(job: SparkJob, home: dict[str, str], cluster: LocalCluster) -> None:
    result = run(job, cluster.master, home)
    if result.exit_code:
        raise OhlcvError(f"the job that loads the classes for the archives failed: {result.error}")


def job_settings(home: str) -> dict[str, str]:
    """Return settings with this home. The job inherits the environment, which may name a production catalog."""
    unset = {name: "" for name in os.environ if name.startswith("OHLCV_") and not name.startswith("OHLCV_JAR")}
    return {**unset, "OHLCV_HOME": home}


@contextmanager
def _postponed_executor_kill(cluster: LocalCluster) -> Iterator[None]:
    """Keep the executor of the job in this block alive until it has written its archive.

    Ten seconds after an application has ended, the master lets the worker kill its executors. On a busy machine an
    archive takes longer. So the master is suspended from the start of the executor until its end.
    """
    worker, master = cluster.processes["worker-1"].pid, cluster.processes["master"].pid
    finished = threading.Event()

    def suspend_master() -> None:
        while not finished.wait(POLL_SECONDS):
            if _executors(worker):
                os.kill(master, signal.SIGSTOP)
                return

    thread = threading.Thread(target=suspend_master, name="suspend master", daemon=True)
    thread.start()
    try:
        yield
        deadline = time.monotonic() + DUMP_SECONDS
        while _executors(worker) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    finally:
        finished.set()
        thread.join()
        os.kill(master, signal.SIGCONT)


def _executors(worker: int) -> list[int]:
    """Return the pids of the executor JVMs of a worker, without the shell scripts that start them."""
    return [pid for pid in descendants(worker) if b"CoarseGrainedExecutorBackend" in _command_line(pid)]


def _command_line(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _with_archive_output(job: SparkJob, engine: Engine) -> SparkJob:
    conf = dict(job.conf)
    for role in ROLES:
        name = f"spark.{role}.extraJavaOptions"
        options = [option for option in conf[name].split() if not option.startswith("-XX:SharedArchiveFile")]
        conf[name] = " ".join([*options, f"-XX:ArchiveClassesAtExit={archive_path(role, engine)}"])
    return dataclasses.replace(job, conf=conf)


def _fingerprint_file(engine: Engine) -> Path:
    return archive_folder(engine) / "stamp"


def main() -> int:
    """Create the slim home and the archives if they are missing or outdated. A failure only makes jobs start slower."""
    try:
        create_slim_home()
    except OSError as error:
        print(f"setup: could not create the slim Spark home, jobs will start more slowly: {error}", file=sys.stderr)
    if is_current():
        return 0
    print("setup: creating CDS archives, which halve the start time of jobs (a minute and a half)", file=sys.stderr)
    try:
        create_archives()
    except (OhlcvError, OSError) as error:
        print(f"setup: could not create the CDS archives, jobs will start more slowly: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
