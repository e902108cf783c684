"""`ohlcv env`: the environment of the running demo, for a shell."""

from __future__ import annotations

import json
import shlex

import click

from ohlcv.config.settings import load_settings


@click.command()
@click.option("--format", "form", type=click.Choice(["shell", "json"]), default="shell", show_default=True)
def env(form: str) -> None:
    """Print the environment of the running demo, so that `airflow` and `ohlcv` commands reach it.

    Use it in a second shell:  eval "$(.venv/bin/ohlcv env)"

    The output contains the demo's passwords.
    """
    from ohlcv.demo.local_airflow import read_environment

    environment = read_environment(load_settings().home / "airflow")
    if form == "json":
        click.echo(json.dumps(environment))
        return
    for name, value in sorted(environment.items()):
        click.echo(f"export {name}={shlex.quote(value)}")
