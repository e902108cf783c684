"""Entry point of the `ohlcv` command line. Errors are one line on stderr; the exit code is 2 for invalid input."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from ohlcv.model.errors import OhlcvError

# Command -> help text. The module ohlcv.cli.<command> defines it and is imported when the command is used.
COMMANDS = {
    "tables": "Create, register and relocate the tables, or widen a volume column.",
    "trades": "Load trades from files, or generate sample trades.",
    "build": "Build candles with spark-submit.",
    "candles": "Show candles.",
    "retention": "Delete expired partitions, or show which would be deleted.",
    "maintain": "Compact the candle tables and expire old snapshots.",
    "sql": "Run Spark SQL statements on the tables.",
    "validate": "Validate stored candles by rules and by recomputation.",
    "health": "Show freshness, run success, durations, workers and storage.",
    "doctor": "Diagnose the installation and show how to fix faults.",
    "demo": "Run the complete pipeline locally with sample trades.",
    "env": "Print the environment of the running demo for a shell.",
    "airflow": "Run an airflow command against the running demo.",
}


class LazyGroup(click.Group):
    """Group that imports the module of a command only when the command is used, so that `--help` is fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"ohlcv.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ohlcv")
def cli() -> None:
    """Build, validate and read OHLCV candles from crypto trades.

    Settings are OHLCV_… environment variables. By default all data is stored under ./.ohlcv.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        result = cli.main(arguments, prog_name="ohlcv", standalone_mode=False)
    except click.ClickException as error:
        return _report_usage_error(error)
    except click.Abort:
        return _report_error("interrupted", 130)
    except OhlcvError as error:
        return _report_error(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader of the pipe has exited (`ohlcv candles | head`).
        sys.stderr.close()
        return 0
    return result if isinstance(result, int) else 0


def _report_usage_error(error: click.ClickException) -> int:
    """Print a usage error and the command that shows help; return the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        # A group without a command: the message is the help text of several lines.
        click.echo(error.format_message(), err=True)
        return error.exit_code
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f" (see '{context.command_path} --help')" if context else ""
    return _report_error(error.format_message() + hint, error.exit_code)


def _report_error(message: str, exit_code: int) -> int:
    click.echo("error: " + " ".join(message.split()), err=True)
    return exit_code
