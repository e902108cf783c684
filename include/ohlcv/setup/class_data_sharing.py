"""Class data sharing (CDS): archives of loaded classes that halve the start time of a JVM.

Set-up runs the real job once and writes one archive for drivers and one for executors
(`python -m ohlcv.setup.class_data_sharing`). A JVM of another version or with another class path ignores an archive
without a message: that costs time, and the run still succeeds.
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
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range
from ohlcv.setup import slim_spark_home
from ohlcv.spark.job_protocol import CODE_GENERATION_MIN_TRADES
from ohlcv.spark.processes import descendants
from ohlcv.spark.spark_submit import SparkJob, build_job, run, views_job
from ohlcv.spark.toolchain import (
    ROLES,
    Role,
    archive_path,
    jar_paths,
    java_home,
    share_directory,
    spark_environment,
    spark_home,
)

if TYPE_CHECKING:
    from ohlcv.spark.local_cluster import LocalCluster

# An executor writes its archive while it ends, after its driver has ended: seconds, or a minute on a busy machine.
DUMP_SECONDS = 180.0
POLL_SECONDS = 0.2
# What a JVM's log of classes says of one that came from an archive of ours; Java's own is the base, not the top.
FROM_ARCHIVE = "source: shared objects file (top)"


def stamp() -> str:
    """Give what the archives depend on, as a JVM checks it: its own version, the jars, their sizes and times."""
    parts = [(java_home() / "release").read_text()] if (java_home() / "release").exists() else [str(java_home())]
    for path in [*jar_paths(), *sorted((spark_home() / "jars").glob("*.jar"))]:
        status = path.stat()
        # Whole seconds, as a JVM sees them: the layers of an image keep no more.
        parts.append(f"{path} {status.st_size} {int(status.st_mtime)}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def is_current() -> bool:
    """Tell whether both archives are there and fit this machine."""
    try:
        return _stamp_file().read_text() == stamp() and all(archive_path(role).is_file() for role in ROLES)
    except OSError:
        return False


def classes_in_use(role: Role) -> int:
    """Ask a JVM as Spark starts it, with a job's class path, how many classes it takes from an archive."""
    options = views_job().conf
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "classes"
        conf = {
            "spark.driver.extraClassPath": options[f"spark.{role}.extraClassPath"],
            "spark.driver.extraJavaOptions": f"{options[f'spark.{role}.extraJavaOptions']} -Xlog:class+load:file={log}",
        }
        words = [word for name, value in conf.items() for word in ("--conf", f"{name}={value}")]
        command = [str(spark_home() / "bin" / "spark-submit"), *words, "--version"]
        subprocess.run(command, env=spark_environment(), capture_output=True, check=False)
        return log.read_text().count(FROM_ARCHIVE) if log.exists() else 0


def make() -> None:
    """Run the 1m job once on a cluster of one worker, and have both its JVMs write what they loaded."""
    from ohlcv.config.settings import load_settings
    from ohlcv.iceberg.tables import create_tables
    from ohlcv.ingest.loader import append_trades
    from ohlcv.ingest.sample_data import Feed
    from ohlcv.spark.local_cluster import local_cluster

    _stamp_file().unlink(missing_ok=True)
    for role in ROLES:
        archive_path(role).parent.mkdir(parents=True, exist_ok=True)
        archive_path(role).unlink(missing_ok=True)
    begin = datetime(2026, 3, 1, 10, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as folder:
        home = {"OHLCV_HOME": f"{folder}/home"}
        settings = load_settings(home)
        create_tables(settings)
        # As many as have their code compiled: few trades get by on less.
        append_trades(settings, Feed(begin).batch(begin + timedelta(hours=1), CODE_GENERATION_MIN_TRADES))
        with local_cluster(Path(folder) / "spark") as cluster:
            # A first run to have something stored: the second reads, compares and overwrites.
            for minutes, wanted in ((0, False), (10, True)):
                own = Range(begin + timedelta(minutes=minutes), begin + timedelta(minutes=minutes + 20))
                job = build_job(settings, "1m", own, repair=True)
                with _undisturbed(cluster) if wanted else nullcontext():
                    outcome = run(_archiving(job) if wanted else job, cluster.master, home)
                    if outcome.exit_code:
                        raise OhlcvError(f"the job that was to show its classes failed: {outcome.error}")
    if not all(archive_path(role).is_file() for role in ROLES):
        raise OhlcvError("this Java wrote no archive of its classes")
    _stamp_file().write_text(stamp())


@contextmanager
def _undisturbed(cluster: LocalCluster) -> Iterator[None]:
    """Let the executor of the job in this block end in its own time.

    A master has its worker kill the executors of an application that is over, after ten seconds: too few to write an
    archive on a busy machine. So the master is held from the executor's start to its end.
    """
    worker, master = cluster.processes["worker-1"].pid, cluster.processes["master"].pid
    over = threading.Event()

    def hold() -> None:
        while not over.wait(POLL_SECONDS):
            if _executors(worker):
                os.kill(master, signal.SIGSTOP)
                return

    holder = threading.Thread(target=hold, name="hold the master", daemon=True)
    holder.start()
    try:
        yield
        deadline = time.monotonic() + DUMP_SECONDS
        while _executors(worker) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    finally:
        over.set()
        holder.join()
        os.kill(master, signal.SIGCONT)


def _executors(worker: int) -> list[int]:
    """Give a worker's executors, once they are Java and no longer on their way to it."""
    return [pid for pid in descendants(worker) if b"CoarseGrainedExecutorBackend" in _command(pid)]


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _archiving(job: SparkJob) -> SparkJob:
    conf = dict(job.conf)
    for role in ROLES:
        name = f"spark.{role}.extraJavaOptions"
        words = [word for word in conf[name].split() if not word.startswith("-XX:SharedArchiveFile")]
        conf[name] = " ".join([*words, f"-XX:ArchiveClassesAtExit={archive_path(role)}"])
    return dataclasses.replace(job, conf=conf)


def _stamp_file() -> Path:
    return share_directory() / "archives" / "stamp"


def main() -> int:
    """Make the archives where they are missing or stale; without them everything works, only slower."""
    try:
        slim_spark_home.make()
    except OSError as error:
        print(f"setup: no lean home of Spark, jobs will start slower: {error}", file=sys.stderr)
    if is_current():
        return 0
    print("setup: archives of Spark's classes, so that jobs start in half the time (a minute)", file=sys.stderr)
    try:
        make()
    except (OhlcvError, OSError) as error:
        print(f"setup: no archives, jobs will start slower: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
