"""Exit codes of every command, and one line for every error (the table in docs/commands.md)."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest

from ohlcv.cli.commands import cli
from ohlcv.cli.streams import output_stream
from ohlcv.model.errors import InputError, OhlcvError
from support.command_line import WarmCommandLine

DAY = ("--start", "2026-03-01T00:00:00Z", "--end", "2026-03-02T00:00:00Z")
NOTE = ("--kind", "halt", "--exchange", "x", "--start", DAY[1], "--author", "x", "--reason", "x")
COMMAND_LINES = [
    ("tables", "create"),
    ("tables", "register"),
    ("tables", "relocate"),
    ("tables", "adopt"),
    ("tables", "map"),
    ("tables", "widen-volume", "--timeframe", "1d"),
    ("tables", "extend", "--timeframe", "1m"),
    ("tables", "progress"),
    ("tables", "restore", "t"),
    ("tables", "repair", "t"),
    ("trades", "load", "x.csv"),
    ("trades", "sample"),
    ("trades", "feed"),
    ("build", "--timeframe", "1m", *DAY),
    ("candles", "--timeframe", "1m"),
    ("revisions", "--timeframe", "1m"),
    ("retention",),
    ("maintain",),
    ("sql", "SELECT 1"),
    ("validate",),
    ("audit", "status"),
    ("audit", "show", "r"),
    ("audit", "retry", "k"),
    ("audit", "waive", "k", "--reason", "x"),
    ("reconcile", "x.csv", "--format", "generic", "--exchange", "X", "--symbol", "S"),
    ("ledger", "record"),
    ("ledger", "status"),
    ("coverage",),
    ("coverage", "record"),
    ("coverage", "note", "add", *NOTE),
    ("coverage", "note", "list"),
    ("coverage", "note", "withdraw", "n", "--author", "x"),
    ("health",),
    ("fsck",),
    ("doctor",),
    ("serve",),
    ("demo",),
    ("env",),
    ("airflow", "dags", "list"),
]
any_command = pytest.mark.parametrize("arguments", COMMAND_LINES, ids=" ".join)
REPOSITORY = Path(__file__).parents[3]


def find_command(arguments: tuple[str, ...]) -> click.Command:
    command: click.Command | None = cli
    context = click.Context(cli)
    for name in arguments:
        if not isinstance(command, click.Group):
            break
        command = command.get_command(context, name)
    assert command is not None
    return command


@pytest.fixture
def replace(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the work of a command by a function."""

    def replace(arguments: tuple[str, ...], work: Callable[[], object]) -> None:
        monkeypatch.setattr(find_command(arguments), "callback", lambda **_: work())

    return replace


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def work() -> NoReturn:
        raise error

    return work


def paths(command: click.Command, *names: str) -> list[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        return [names]
    context = click.Context(command)
    members = {name: command.get_command(context, name) for name in command.list_commands(context)}
    own = [names] if command.invoke_without_command else []
    return own + [path for name, member in members.items() if member for path in paths(member, *names, name)]


def test_the_table_contains_every_command() -> None:
    levels = {"audit": 2, "coverage": 2, "ledger": 2, "tables": 2, "trades": 2}
    assert set(paths(cli)) == {
        arguments[: 3 if "note" in arguments else levels.get(arguments[0], 1)] for arguments in COMMAND_LINES
    }


@any_command
def test_the_exit_code_tells_how_a_command_ended(
    warm: WarmCommandLine, replace: Any, arguments: tuple[str, ...]
) -> None:
    replace(arguments, lambda: None)
    assert (warm.run(*arguments).returncode, warm.run(*arguments).stderr) == (0, "")
    replace(arguments, lambda: 1)
    assert (warm.run(*arguments).returncode, warm.run(*arguments).stderr) == (1, "")
    replace(arguments, raising(OhlcvError("no\ntable")))
    assert warm.fail(1, *arguments) == "no table"
    replace(arguments, raising(InputError("bad range")))
    assert warm.fail(2, *arguments) == "bad range"
    replace(arguments, raising(KeyboardInterrupt()))
    assert warm.fail(130, *arguments) == "interrupted"
    assert warm.files() == set()
    replace(arguments, raising(TypeError("bad type")))
    log = warm.home / "logs" / "errors.log"
    assert warm.fail(1, *arguments) == f"unexpected TypeError: bad type; details are in {log}"


@pytest.mark.parametrize(
    "error",
    [
        TypeError("first line\nsecond line"),
        EOFError("Expected 4 bytes"),
        BrokenPipeError(32, "Broken pipe"),
        MemoryError(),
        RecursionError("maximum recursion depth exceeded"),
        ImportError("No module named 'pyiceberg'"),
        click.Abort(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_unexpected_error_is_one_line_that_names_the_log(
    warm: WarmCommandLine, replace: Any, error: Exception
) -> None:
    replace(("candles",), raising(error))
    message = warm.fail(1, "candles", "--timeframe", "1m")
    first_line = (str(error) or "no message").splitlines()[0]
    log = warm.home / "logs" / "errors.log"
    assert message == f"unexpected {type(error).__name__}: {first_line}; details are in {log}"
    assert "Traceback (most recent call last)" in log.read_text()


@any_command
def test_an_unknown_option_is_invalid_input(warm: WarmCommandLine, arguments: tuple[str, ...]) -> None:
    if arguments[0] == "airflow":  # passes all its arguments on
        return
    assert warm.fail(2, *arguments, "--nope").startswith("No such option '--nope'")


@any_command
@pytest.mark.parametrize(
    ("flags", "code", "stderr"),
    [
        (None, 141, ""),
        (os.O_WRONLY, 1, "error: the output could not be written (No space left on device)\n"),
        (os.O_RDONLY, 1, "error: the output could not be written (stdout is closed)\n"),
    ],
    ids=["closed pipe", "full", "closed"],
)
def test_output_that_cannot_be_written(
    warm: WarmCommandLine,
    replace: Any,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    flags: int | None,
    code: int,
    stderr: str,
) -> None:
    if flags is None:
        reader, descriptor = os.pipe()
        os.close(reader)
    else:
        descriptor = os.open("/dev/full", flags)
    stream = output_stream(descriptor)
    monkeypatch.setattr(sys, "stdout", stream)
    # The text stays in the buffer until the command has ended.
    replace(arguments, lambda: stream.write("text"))
    result = warm.run(*arguments)
    assert (result.returncode, result.stderr) == (code, stderr)
    stream.close()  # flushes, as Python does when it exits
    os.close(descriptor)


@pytest.mark.parametrize("arguments", [(), ("candles",), ("trades", "load")], ids=str)
def test_help_to_a_closed_pipe_ends_quietly(
    warm: WarmCommandLine, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stdout", output_stream(writer))
    result = warm.run(*arguments, "--help")
    assert (result.returncode, result.stderr) == (141, "")
    os.close(writer)


ENDINGS = [
    (signal.SIGINT, 130, "interrupted"),
    (signal.SIGTERM, 143, "terminated"),
    (signal.SIGHUP, 129, "the terminal was closed"),
]
any_ending = pytest.mark.parametrize(("number", "code", "message"), ENDINGS, ids=str)


@any_ending
def test_a_signal_ends_a_command_whatever_a_library_makes_of_it(
    warm: WarmCommandLine, replace: Any, number: int, code: int, message: str
) -> None:
    def work() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise RuntimeError("Query interrupted") from None  # as DuckDB does

    replace(("candles",), work)
    assert warm.fail(code, "candles", "--timeframe", "1m") == message
    assert warm.files() == set()


@any_ending
def test_a_signal_removes_temporary_files(
    warm: WarmCommandLine, replace: Any, number: int, code: int, message: str
) -> None:
    def work() -> None:
        with tempfile.TemporaryDirectory(dir=warm.folder) as folder:
            (Path(folder) / "trades").write_text("1")
            signal.raise_signal(number)

    replace(("trades", "load"), work)
    assert warm.fail(code, "trades", "load", "x.csv") == message
    assert list(warm.folder.iterdir()) == []


def test_a_signal_in_a_destructor_ends_the_command(warm: WarmCommandLine, replace: Any) -> None:
    class Interrupted:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def work() -> None:
        instance = Interrupted()
        del instance  # Python discards the exception
        threading.Event().wait(60)

    replace(("health",), work)
    assert warm.fail(130, "health") == "interrupted"


def test_a_signal_that_the_caller_ignores_stays_ignored(warm: WarmCommandLine, replace: Any) -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        replace(("health",), lambda: signal.raise_signal(signal.SIGHUP))
        assert warm.run("health").returncode == 0
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_a_deleted_working_directory_is_one_line(
    warm: WarmCommandLine, replace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = warm.folder / "gone"

    def work() -> None:
        gone.mkdir()
        monkeypatch.chdir(gone)
        gone.rmdir()
        Path("x").absolute()

    replace(("health",), work)
    assert warm.fail(1, "health") == "the working directory has been deleted: change to another one"


EMPTY_VALUES = [
    ("retention", "--as-of", ""),
    ("maintain", "--as-of="),
    ("candles", "--timeframe", "1m", "--symbol", " "),
    ("candles", "--timeframe", "1m", "--start", ""),
    ("build", "--timeframe", "1m", *DAY, "--master", ""),
    ("validate", "--run", "", "--range", "1m=2026-03-01/2026-03-02"),
    ("validate", "--run", "r", "--range", ""),
    ("tables", "widen-volume", "--timeframe", ""),
    ("trades", "load", "--exchange", "", "x.csv"),
    ("sql", ""),
    ("audit", "show", ""),
    ("audit", "waive", "k", "--reason", ""),
]


@pytest.mark.parametrize("arguments", EMPTY_VALUES, ids=" ".join)
def test_an_empty_value_is_refused(warm: WarmCommandLine, arguments: tuple[str, ...]) -> None:
    message = warm.fail(2, *arguments)
    assert message.startswith("Invalid value for ")
    assert ": the value is empty (see 'ohlcv " in message
    assert warm.files() == set()


def test_every_text_of_every_command_must_be_utf_8(warm: WarmCommandLine) -> None:
    text = os.fsdecode(b"\xff")
    for path in paths(cli):
        for parameter in find_command(path).params:
            if isinstance(parameter, click.Option) and parameter.type is click.STRING:
                message = warm.fail(2, *path, parameter.opts[0], text)
                assert message.startswith(f"Invalid value for '{parameter.opts[0]}': '\\udcff' is not UTF-8 text")
    assert warm.fail(2, "sql", text).startswith("Invalid value for 'STATEMENT...': '\\udcff' is not UTF-8 text")
    assert warm.fail(2, text).startswith("No such command '\\udcff'.")
    assert warm.fail(2, "candles", f"--{text}").startswith("No such option '--\\udcff'.")


def test_the_document_lists_the_exit_codes() -> None:
    table = (REPOSITORY / "docs" / "commands.md").read_text()
    for code in (0, 1, 2, 129, 130, 141, 143):
        assert f"| {code} |" in table
