"""Spark's standalone master and worker: `python -m ohlcv.spark.standalone master|worker` runs one of them."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Literal, get_args

from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.spark.jars import jar_paths
from ohlcv.spark.toolchain import spark_environment, spark_home

Role = Literal["master", "worker"]
MAIN_CLASSES: dict[Role, str] = {
    "master": "org.apache.spark.deploy.master.Master",
    "worker": "org.apache.spark.deploy.worker.Worker",
}
MASTER_PORT, MASTER_WEB_PORT, WORKER_WEB_PORT = 7077, 8080, 8081
# Spark reads the secret from this variable first and passes it to executors by it, so it is never an argument.
SECRET_VARIABLE = "_SPARK_AUTH_SECRET"  # noqa: S105  # a name, not a secret
# The daemons run for a long time and do little: few threads and a small heap (SPARK_DAEMON_MEMORY). Their metrics are
# at /metrics/prometheus, those of the master at /metrics/master/prometheus.
JAVA_OPTIONS = (
    "-XX:+UseSerialGC",
    "-Dspark.metrics.conf.*.sink.prometheusServlet.class=org.apache.spark.metrics.sink.PrometheusServlet",
    "-Dspark.metrics.conf.*.sink.prometheusServlet.path=/metrics/prometheus",
    "-Dspark.metrics.conf.master.sink.prometheusServlet.path=/metrics/master/prometheus",
    "-Dspark.deploy.recoveryMode=FILESYSTEM",
    # Jobs are submitted in client mode. The REST server would accept drivers without the secret.
    "-Dspark.master.rest.enabled=false",
)


def command(role: Role, *arguments: str, home: Path | None = None) -> list[str]:
    """Return the command line of a daemon."""
    return [str((home or spark_home()) / "bin" / "spark-class"), MAIN_CLASSES[role], *arguments]


def environment(settings: Settings, recovery: Path) -> dict[str, str]:
    """Return the environment of a daemon. A restarted master finds its workers and running jobs in a folder."""
    options = [*JAVA_OPTIONS, f"-Dspark.deploy.recoveryDirectory={recovery}"]
    secret = {}
    if settings.spark_secret:
        options.append("-Dspark.authenticate=true")
        secret = {SECRET_VARIABLE: settings.spark_secret}
    return {
        **spark_environment(),
        "SPARK_DAEMON_CLASSPATH": ":".join(str(path) for path in jar_paths()),
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": " ".join(options),
        **secret,
    }


def recovery_folder(parent: Path) -> Path:
    """Return the folder of a master's state. Others cannot read it: it has the secret."""
    folder = parent / "spark-recovery"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def container_arguments(role: Role, settings: Settings) -> list[str]:
    """Return the arguments of a daemon that is alone on its machine or in its container."""
    name = socket.gethostname()
    if role == "master":
        return ["--host", name, "--port", str(MASTER_PORT), "--webui-port", str(MASTER_WEB_PORT)]
    if settings.spark_master is None:
        raise InputError("OHLCV_SPARK_MASTER is not set, but the worker needs it: set it to spark://HOST:7077")
    # The IP address, because the names of several workers of one service cannot be resolved by the others.
    return [
        *("--host", socket.gethostbyname(name), "--webui-port", str(WORKER_WEB_PORT)),
        *("--work-dir", os.environ.get("SPARK_WORKER_DIR") or str(Path.cwd() / "work")),
        settings.spark_master,
    ]


def main(arguments: list[str]) -> int:
    """Replace this process by a daemon."""
    if len(arguments) != 1 or arguments[0] not in get_args(Role):
        sys.stderr.write("usage: python -m ohlcv.spark.standalone master|worker\n")
        return 2
    role: Role = arguments[0]  # type: ignore[assignment]  # checked above
    try:
        settings = load_settings()
        daemon = command(role, *container_arguments(role, settings))
        variables = environment(settings, recovery_folder(Path(tempfile.gettempdir())))
        os.execve(daemon[0], daemon, variables)  # noqa: S606  # our own program, without a shell
    except OhlcvError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
