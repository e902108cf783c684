"""Commands of the `ohlcv` command line, and the checks of all their arguments."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click
from click.shell_completion import shell_complete

from ohlcv.model.errors import InputError

# click's variable for shell completion: eval "$(_OHLCV_COMPLETE=bash_source ohlcv)".
COMPLETION = "_OHLCV_COMPLETE"
# Command -> help text. The module ohlcv.cli.<command> defines it and is imported when the command is used.
COMMANDS = {
    "tables": "Create, register, relocate tables; widen a volume column.",
    "trades": "Load trades from files, or generate sample trades.",
    "build": "Build candles with spark-submit.",
    "candles": "Show candles.",
    "revisions": "Show which candles changed, when and why.",
    "retention": "Delete expired partitions, or show which would be deleted.",
    "maintain": "Compact the candle tables and expire old snapshots.",
    "sql": "Run Spark SQL statements on the tables.",
    "validate": "Validate stored candles by rules and by recomputation.",
    "audit": "Show held series and rejected runs; retry or waive held series.",
    "reconcile": "Compare candles with those that an exchange published.",
    "ledger": "Record what candles showed and why they changed; show its state.",
    "coverage": "Show how complete the trades are; record it, and notes on it.",
    "health": "Show freshness, run success, durations, workers and storage.",
    "fsck": "Find damaged files of the tables, and show how to repair them.",
    "doctor": "Diagnose the installation and show how to fix faults.",
    "serve": "Serve candles by HTTP.",
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
        _check_texts(command)
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


def run_command(arguments: list[str] | None) -> int:
    """Run a command and return its exit code. Raise InputError for invalid arguments."""
    if instruction := os.environ.get(COMPLETION):
        return shell_complete(cli, {}, "ohlcv", COMPLETION, instruction)
    try:
        # Not cli.main(): it converts EOFError, as of a damaged file, to an interruption, and a closed pipe to code 1.
        with cli.make_context("ohlcv", sys.argv[1:] if arguments is None else arguments) as context:
            result = cli.invoke(context)
    except click.exceptions.Exit as end:  # after --help and --version
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        # A group without a command: the message is the help text of several lines.
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        usage = error.ctx if isinstance(error, click.UsageError) else None
        hint = f" (see '{usage.command_path} --help')" if usage else ""
        raise InputError(error.format_message() + hint) from None
    return result if isinstance(result, int) else 0


def _check_texts(command: click.Command) -> None:
    """Make every text parameter of a command refuse blank text and text that is not UTF-8."""
    if isinstance(command, click.Group):
        for member in command.commands.values():
            _check_texts(member)
    for parameter in command.params:
        if parameter.callback is None and parameter.type is not click.UNPROCESSED:
            parameter.callback = _check_text


def _check_text(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    for text in value if isinstance(value, tuple) else (value,):
        if not isinstance(text, str):
            continue
        if not text.strip():
            raise click.BadParameter("the value is empty", context, parameter)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise click.BadParameter(f"'{text}' is not UTF-8 text", context, parameter) from None
    return value
