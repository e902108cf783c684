"""The same check in a container of the project's image, for an Airflow kept free of the data libraries."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.providers.docker.exceptions import DockerContainerFailedException
from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.intervals import iso
from ohlcv.orchestration.callbacks import first_line
from ohlcv.orchestration.validate_operator import Asked, Question, tell_assets

if TYPE_CHECKING:
    from airflow.sdk import Context

# Where Airflow and Spark are is not a check's business; secrets go another way.
FOREIGN = (
    *("OHLCV_AIRFLOW_", "OHLCV_SPARK_", "OHLCV_JARS"),
    *("OHLCV_CATALOG_PASSWORD", "OHLCV_CATALOG_TOKEN", "OHLCV_S3_SECRET_KEY"),
)


class ContainerValidateOperator(DockerOperator):
    """Run `ohlcv validate --run` in a container; its log is the task's, and its end the task's end."""

    template_fields = (*DockerOperator.template_fields, "day")

    def __init__(self, *, asked: Question, day: str = "", **arguments: Any) -> None:
        settings = load_settings()
        super().__init__(
            image=settings.validation.image,
            network_mode=settings.validation.network,
            entrypoint="ohlcv",
            mount_tmp_dir=False,
            auto_remove="force",
            # The report is one line among those of the log.
            xcom_all=True,
            **arguments,
        )
        self.asked = asked
        self.day = day

    def execute(self, context: Context) -> None:
        """Check."""
        asked = self.asked(context, self.day)
        settings = load_settings()
        self.command = arguments_of(asked, context["dag_run"].run_id)
        self.environment = {"OHLCV_HOME": str(settings.home), **plain_settings(os.environ)}
        # Not shown with the task, as the other variables are.
        self._private_environment = secret_settings(settings)
        self.mounts = [
            {"source": folder, "target": folder, "type": "bind", "read_only": read_only}
            for folder, read_only in local_folders(settings).items()
        ]
        if self.mounts:
            # Files of this machine are read as the worker would read them.
            self.user = f"{os.getuid()}:{os.getgid()}"
        try:
            lines = super().execute(context)
        except DockerContainerFailedException as error:
            lines = [line.decode() if isinstance(line, bytes) else line for line in error.logs or []]
            report = _report(lines)
            if report and report["complaint"]:
                raise AirflowFailException(report["complaint"]) from None
            raise AirflowException(first_line("\n".join(lines) or error)) from None
        report = _report(lines if isinstance(lines, list) else [])
        if report is None:
            raise AirflowException(f"the image {self.image} ran something else than 'ohlcv validate': it told nothing")
        tell_assets(context, report["events"])


def arguments_of(asked: list[Asked], run_id: str) -> list[str]:
    """Give the command line of a check."""
    ranges = (f"--range={timeframe}={iso(own.start)}/{iso(own.end)}" for timeframe, own in asked)
    return ["validate", f"--run={run_id}", *ranges]


def plain_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Give the settings a check needs that are no secrets."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith("OHLCV_") and not name.startswith(FOREIGN) and name != "OHLCV_HOME"
    }


def secret_settings(settings: Settings) -> dict[str, str]:
    """Give the settings a check needs that are secrets, by value: their files are the worker's."""
    found = {
        "OHLCV_CATALOG_PASSWORD": settings.catalog_password,
        "OHLCV_CATALOG_TOKEN": settings.catalog_token,
        "OHLCV_S3_SECRET_KEY": settings.store.secret_key if settings.store else None,
    }
    return {name: value for name, value in found.items() if value}


def local_folders(settings: Settings) -> dict[str, bool]:
    """Give the folders of an embedded catalog and store, in the container where they are outside; true: to be read."""
    folders = {}
    if settings.catalog.engine == "sqlite":
        # Readers of SQLite's log write beside it that they read.
        folders[str(PurePosixPath(settings.catalog.database).parent)] = False
    if settings.warehouse.startswith("file:"):
        folders[urlsplit(settings.warehouse).path] = True
    return folders


def _report(lines: list[str]) -> dict[str, Any] | None:
    for line in reversed(lines):
        if line.startswith('{"complaint":'):
            found: dict[str, Any] = json.loads(line)
            return found
    return None
