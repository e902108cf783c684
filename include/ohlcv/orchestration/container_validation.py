"""Operator that validates candles in a container, for an Airflow installation without the data libraries."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.docker.exceptions import DockerContainerFailedException
from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk.exceptions import AirflowException

from ohlcv.config.catalogs.adapters import AWS_VARIABLES
from ohlcv.config.catalogs.short_form import SECRET_NAMES
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.intervals import iso
from ohlcv.orchestration.callbacks import summarize_error
from ohlcv.orchestration.validate_operator import TargetResolver, ValidationTarget, publish

if TYPE_CHECKING:
    from airflow.sdk import Context

# Settings that are not passed as plain variables: the validation needs no Airflow and no Spark, and secrets are passed
# separately.
EXCLUDED_SETTINGS = (
    *("OHLCV_AIRFLOW_", "OHLCV_API_", "OHLCV_SPARK_", "OHLCV_JAR"),
    *SECRET_NAMES,
)


class ContainerValidateOperator(DockerOperator):
    """Run `ohlcv validate --run` in a container. Its log and its exit code become those of the task."""

    template_fields = (*DockerOperator.template_fields, "day")

    def __init__(self, *, resolve_targets: TargetResolver, day: str = "", **arguments: Any) -> None:
        settings = load_settings()
        super().__init__(
            image=settings.validation.image,
            network_mode=settings.validation.network,
            entrypoint="ohlcv",
            mount_tmp_dir=False,
            auto_remove="force",
            # The report is one line of the log, so all lines are needed.
            xcom_all=True,
            **arguments,
        )
        self.resolve_targets = resolve_targets
        self.day = day

    def execute(self, context: Context) -> None:
        """Validate the targets of the run."""
        targets = self.resolve_targets(context, self.day)
        settings = load_settings()
        self.command = validate_arguments(targets, context["dag_run"].run_id)
        mapping = mapping_file(os.environ)
        self.environment = {"OHLCV_HOME": str(settings.home), **plain_settings(os.environ), **mapping}
        # Unlike `environment`, these variables are not shown in the web UI.
        self._private_environment = secret_variables(settings, os.environ)
        self.mounts = [
            {"source": folder, "target": folder, "type": "bind", "read_only": read_only}
            for folder, read_only in [*settings.catalog.folders().items(), *((file, True) for file in mapping.values())]
        ]
        if self.mounts:
            # Local files are read with the permissions of the worker.
            self.user = f"{os.getuid()}:{os.getgid()}"
        try:
            lines = super().execute(context)
        except DockerContainerFailedException as error:
            lines = [line.decode() if isinstance(line, bytes) else line for line in error.logs or []]
            report = _find_report(lines)
            if report is None or not report["complaint"]:
                raise AirflowException(summarize_error("\n".join(lines) or error)) from None
        else:
            report = _find_report(lines if isinstance(lines, list) else [])
            if report is None:
                raise AirflowException(
                    f"the image {self.image} did not run 'ohlcv validate' (its log has no report): "
                    "set OHLCV_VALIDATION_IMAGE to an image of this version of the project"
                )
        publish(context, settings, report)


def validate_arguments(targets: list[ValidationTarget], run_id: str) -> list[str]:
    """Return the arguments of `ohlcv` that validate the targets."""
    ranges = (f"--range={timeframe}={iso(target.start)}/{iso(target.end)}" for timeframe, target in targets)
    return ["validate", f"--run={run_id}", *ranges]


def plain_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a validation that are not secret."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith("OHLCV_") and not name.startswith(EXCLUDED_SETTINGS) and name != "OHLCV_HOME"
    }


def mapping_file(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the setting of the file that maps the trades table, as an absolute path; empty if it is not set."""
    name = "OHLCV_TRADES_MAPPING"
    return {name: str(Path(environment[name]).absolute())} if environment.get(name) else {}


def secret_variables(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the secrets of catalog and store by value, because files of secrets exist only on the worker."""
    cloud = {name: environment[name] for name in AWS_VARIABLES if environment.get(name)}
    return {**cloud, **settings.catalog.description.environment}


def _find_report(lines: list[str]) -> dict[str, Any] | None:
    for line in reversed(lines):
        if line.startswith('{"complaint":'):
            report: dict[str, Any] = json.loads(line)
            return report if report.keys() >= {"verdicts", "events"} else None
    return None
