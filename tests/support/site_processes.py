"""Processes of an installation: those of its jobs, and kill -9 and restart of its services."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from sqlalchemy.engine import make_url

from ohlcv.spark.processes import descendants
from support.processes import command_line, processes_with_environment
from support.sites import Site

# Kind of process by process id.
ProcessTable = dict[int, str]


def job_processes(site: Site) -> ProcessTable:
    """Find the processes of tasks and jobs."""
    kinds = {"org.apache.spark.deploy.SparkSubmit": "spark-submit (JVM of the driver)", "spark_jobs/ohlcv_": "driver"}
    found: ProcessTable = {}
    # Airflow's processes rename themselves, which removes their environment, so they are found as descendants of the
    # scheduler. The processes of a job keep their environment, also when their parents have died.
    scheduler = site.airflow.processes["scheduler"].pid
    for pid in {*processes_with_environment(f"OHLCV_HOME={site.settings.home}"), *descendants(scheduler)}:
        command = command_line(pid)
        kind = next((kind for text, kind in kinds.items() if text in command), None)
        # The supervisor's name is "airflow worker -- LocalExecutor: …", that of the task process has the bare id.
        if kind is None and command.startswith("airflow worker -- ") and "LocalExecutor" not in command:
            kind = "task"
        if kind:
            found[pid] = kind
    for name, process in site.cluster.processes.items():
        if name.startswith("worker") and process.poll() is None:
            found |= {
                pid: "executor"
                for pid in descendants(process.pid)
                if "CoarseGrainedExecutorBackend" in command_line(pid)
            }
    return found


def print_processes(title: str, table: ProcessTable) -> None:
    print(f"{title}:", *(f"  {pid:>7}  {kind}" for pid, kind in sorted(table.items())), sep="\n")


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_service(site: Site, name: str) -> None:
    """Kill the main process of an Airflow service with SIGKILL, and no other process."""
    process = site.airflow.processes[name]
    process.kill()
    process.wait()


@contextmanager
def metadata_database(site: Site) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Connect to Airflow's metadata database in autocommit mode."""
    url = make_url(site.airflow.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    with psycopg.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, dbname=url.database, autocommit=True
    ) as connection:
        yield connection


def restart_service(site: Site, name: str) -> None:
    """Start a service again, as a supervisor of processes does."""
    site.airflow.start_service(name)


def restart_ended_services(site: Site) -> None:
    """Start the services that have ended again."""
    for name, process in list(site.airflow.processes.items()):
        if process.poll() is not None:
            print(f"{name} has ended with {process.returncode}")
            restart_service(site, name)
