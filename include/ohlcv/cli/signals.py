"""Signals that end a command: SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal was closed)."""

from __future__ import annotations

import os
import signal
import sys

# Signal -> message. The exit code is 128 + the number of the signal, as that of a shell.
ENDINGS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "the terminal was closed"}
# Long enough for the callback that discarded an exception to return.
REPEAT_SECONDS = 0.05


class EndingSignals:
    """Handlers that raise KeyboardInterrupt, so that a command removes its temporary files and stops its jobs."""

    def __init__(self) -> None:
        # DuckDB and other libraries convert KeyboardInterrupt to errors of their own: the signal is remembered.
        self.received: signal.Signals | None = None
        self._handled: list[signal.Signals] = []

    @property
    def message(self) -> str:
        return ENDINGS[self.received or signal.SIGINT]

    @property
    def exit_code(self) -> int:
        return 128 + (self.received or signal.SIGINT)

    def install(self) -> None:
        """Install the handlers, except for signals that the caller ignores (`nohup`, a shell's background jobs)."""
        self._handled = [number for number in ENDINGS if signal.getsignal(number) is not signal.SIG_IGN]
        for number in self._handled:
            signal.signal(number, self._interrupt)
        signal.signal(signal.SIGALRM, lambda *_: self._interrupt(self.received or signal.SIGINT))
        sys.unraisablehook = self._repeat

    def finish(self, exit_code: int) -> None:
        """Let a further signal end the process at once: the command has ended, and only Python's exit remains."""
        for number in (*self._handled, signal.SIGALRM):
            signal.signal(number, lambda *_: os._exit(exit_code))
        sys.unraisablehook = sys.__unraisablehook__

    def _interrupt(self, number: int, *_: object) -> None:
        self.received = signal.Signals(number)
        raise KeyboardInterrupt

    def _repeat(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Raise KeyboardInterrupt again if Python discarded the exception of its handler.

        It discards exceptions in destructors and in callbacks of weak references, which every import calls.
        """
        if isinstance(unraisable.exc_value, KeyboardInterrupt) and self.received:
            signal.setitimer(signal.ITIMER_REAL, REPEAT_SECONDS)
        else:
            sys.__unraisablehook__(unraisable)
