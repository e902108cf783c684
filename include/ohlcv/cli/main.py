"""Entry point of the `ohlcv` command line: one line on stderr for every error, and the exit codes of docs/commands.md.

Commands and libraries are imported inside functions, so that Ctrl-C and errors during imports are reported too.
"""

from __future__ import annotations

import contextlib
import os
import sys

from ohlcv.cli.control_characters import neutralize
from ohlcv.cli.signals import EndingSignals
from ohlcv.cli.streams import ClosedPipeError, OutputError, secure_streams
from ohlcv.model.errors import OhlcvError

CLOSED_PIPE = 141
MAX_CAUSE = 500


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    signals = EndingSignals()
    try:
        signals.install()
        secure_streams()
        exit_code = _run(arguments, signals)
    except KeyboardInterrupt:  # a second signal, while the first one was reported
        exit_code = signals.exit_code
    signals.finish(exit_code)
    sys.exit(exit_code)


def _run(arguments: list[str] | None, signals: EndingSignals) -> int:
    try:
        from ohlcv.cli.commands import run_command

        exit_code = run_command(arguments)
        sys.stdout.flush()
        return exit_code
    except BaseException as error:
        # After a failed command its output may be incomplete. Only the first error is reported.
        with contextlib.suppress(OutputError, ClosedPipeError):
            sys.stdout.flush()
        if signals.received or isinstance(error, KeyboardInterrupt):
            return _report(signals.message, signals.exit_code)
        if isinstance(error, ClosedPipeError):
            return CLOSED_PIPE
        if isinstance(error, OhlcvError):
            return _report(str(error), error.exit_code)
        return _report_unexpected(error)


def _report_unexpected(error: BaseException) -> int:
    from ohlcv.cli.error_log import log_error
    from ohlcv.config.settings import load_settings

    if isinstance(error, FileNotFoundError) and not _has_working_directory():
        return _report("the working directory has been deleted: change to another one", 1)
    errors = sys.modules.get("ohlcv.iceberg.catalog_errors")
    if errors and isinstance(error, errors.catalog_errors()):
        return _report(errors.describe_catalog_error(load_settings(), error), 1)
    stores = sys.modules.get("ohlcv.iceberg.object_store")
    if stores and stores.is_store_error(error):
        return _report(stores.describe_store_error(load_settings(), error), 1)
    log = log_error(error, os.environ)
    details = f"details are in {log}" if log else "the details could not be written to a log file"
    return _report(f"unexpected {type(error).__name__}: {_first_line(error)}; {details}", 1)


def _first_line(error: BaseException) -> str:
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), "no message")[:MAX_CAUSE]


def _has_working_directory() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _report(message: str, exit_code: int) -> int:
    from ohlcv.cli.error_log import redact

    line = " ".join(redact(message, os.environ).split())
    sys.stderr.write(f"error: {neutralize(line)}\n")
    sys.stderr.flush()
    return exit_code
