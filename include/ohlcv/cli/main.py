"""The command line: `ohlcv`. Errors are one line on stderr, bad input ends with exit code 2."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from ohlcv.model.errors import OhlcvError

# Name of the command -> module under ohlcv.cli that defines it, loaded when it is used.
COMMANDS = {
    "tables": "Create the tables and views, widen a volume column.",
    "trades": "Load trades from files, or make sample trades.",
    "build": "Build candles through spark-submit.",
    "candles": "Show candles.",
    "retention": "Delete what has been kept long enough, or show what would go.",
    "maintain": "Compact the candle tables and let go of old snapshots.",
    "sql": "Ask or change the tables by Spark SQL.",
    "validate": "Check stored candles against their rules and their trades.",
    "health": "Show whether candles are fresh, runs good, workers there.",
    "doctor": "Look for what is wrong here, and say what to do.",
    "demo": "Run the whole pipeline here, on sample trades.",
    "env": "Print the environment of the running demo for a shell.",
    "airflow": "Run an airflow command against the running demo.",
}


class LazyGroup(click.Group):
    """Load a command's module only when that command is asked for: `--help` answers at once."""

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
    """Exact, complete, audited OHLCV candles from crypto trades.

    Settings come from OHLCV_… variables of the environment; without any, everything lives under ./.ohlcv.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        result = cli.main(arguments, prog_name="ohlcv", standalone_mode=False)
    except click.ClickException as error:
        return _refuse(error)
    except click.Abort:
        return _fail("stopped", 130)
    except OhlcvError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader has seen enough (`ohlcv candles | head`).
        sys.stderr.close()
        return 0
    return result if isinstance(result, int) else 0


def _refuse(error: click.ClickException) -> int:
    """Tell what is wrong with a command line, and where its help is."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        # A group without a command: the message is its help, many lines long.
        click.echo(error.format_message(), err=True)
        return error.exit_code
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f" (see '{context.command_path} --help')" if context else ""
    return _fail(error.format_message() + hint, error.exit_code)


def _fail(message: str, exit_code: int) -> int:
    click.echo("error: " + " ".join(message.split()), err=True)
    return exit_code
