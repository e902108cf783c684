"""`ohlcv airflow`: an `airflow` command in the environment of the running demo."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from ohlcv.config.settings import load_settings


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def airflow(arguments: tuple[str, ...]) -> None:
    """Run an `airflow` command against the running demo, as in: ohlcv airflow dags list."""
    from ohlcv.demo.local_airflow import read_environment

    environment = read_environment(load_settings().home / "airflow")
    program = str(Path(sys.executable).with_name("airflow"))
    os.execve(program, ["airflow", *arguments], {**os.environ, **environment})
