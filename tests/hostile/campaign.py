"""Campaign: many cases on several servers, a line of progress, a summary, and the failures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from hostile.checks import Outcome
from hostile.junk_servers import junk_servers

PROGRESS_INTERVAL = 250


@dataclass
class Summary:
    """Counts of all outcomes, and the failed ones."""

    small_disk: bool = False
    kinds: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)
    slowest: Outcome | None = None
    largest: Outcome | None = None

    def add(self, outcome: Outcome) -> None:
        self.kinds[outcome.kind] += 1
        self.codes.update(outcome.codes)
        if outcome.problems:
            self.failures.append(outcome)
        if self.slowest is None or outcome.seconds > self.slowest.seconds:
            self.slowest = outcome
        if self.largest is None or outcome.peak_bytes > self.largest.peak_bytes:
            self.largest = outcome

    def lines(self) -> Iterator[str]:
        """Yield the lines of the summary."""
        yield f"{sum(self.kinds.values()):,} cases, {len(self.failures):,} failed"
        yield "by kind: " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(self.kinds.items()))
        yield "commands by exit code: " + ", ".join(f"{code}: {count:,}" for code, count in sorted(self.codes.items()))
        if self.largest is not None and self.slowest is not None:
            yield f"largest: {self.largest.peak_bytes / 2**20:,.0f} MiB, {_name(self.largest)}"
            yield f"slowest: {self.slowest.seconds:.1f} s, {_name(self.slowest)}"
        if not self.small_disk:
            yield "full disks were simulated by limits of file sizes: mounting a small disk needs root"


def report_of(outcome: Outcome) -> str:
    """Return the problems of a failed case, what it did, and the command that repeats it."""
    problems = "\n".join(f"  - {problem}" for problem in outcome.problems)
    return f"{repeat_command(outcome)}   ({outcome.kind})\n{problems}\n{outcome.details}"


def repeat_command(outcome: Outcome) -> str:
    return f"make test-hostile SEED={outcome.seed} CASE={outcome.number}"


def _name(outcome: Outcome) -> str:
    return f"{outcome.kind}, case {outcome.number}"


class ServerError(Exception):
    """A server ended because of a defect of the generator or of the checks."""


class Server:
    """A server process (`server.py`)."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        folder.mkdir(parents=True)
        tests = Path(__file__).parents[1]
        self._log = (folder / "server.log").open("wb")
        self._process = subprocess.Popen(
            [*_private_mounts(), sys.executable, "-m", "hostile.server", str(folder), json.dumps(ports)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            # A thread of a library would not exist in the forked processes.
            env={
                **os.environ,
                # Without an empty entry: Python does not start with it in a deleted folder.
                "PYTHONPATH": ":".join(filter(None, (str(tests), os.environ.get("PYTHONPATH")))),
                "OPENBLAS_NUM_THREADS": "1",
            },
            start_new_session=True,
        )

    def run(self, seed: int, number: int) -> Outcome:
        """Run a case."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"seed": seed, "number": number}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise ServerError(f"the server ended: {Path(self._log.name).read_text(errors='replace')[:3000]}")
        return Outcome(**json.loads(line))

    def close(self) -> None:
        self._process.communicate()
        self._log.close()


def _private_mounts() -> list[str]:
    """Return the command that starts a server with private mounts; empty if this user may not mount."""
    command = ["unshare", "--mount"]
    try:
        allowed = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return []
    return command if allowed else []


def run_campaign(folder: Path, seed: int, numbers: Iterable[int], servers: int = 1, progress: bool = False) -> Summary:
    """Run cases on some servers and return the summary."""
    summary = Summary(small_disk=bool(_private_mounts()))
    remaining, lock = iter(numbers), threading.Lock()
    begin = time.monotonic()

    def next_number() -> int | None:
        with lock:
            return next(remaining, None)

    def work(name: str) -> None:
        server = Server(folder / name, ports)
        while (number := next_number()) is not None:
            try:
                outcome = server.run(seed, number)
            except ServerError as error:
                outcome = Outcome(seed, number, "failure of the server", [], 0, 0, [str(error)], "")
                server = Server(folder / f"{name}-after-{number}", ports)
            with lock:
                summary.add(outcome)
                done = sum(summary.kinds.values())
                if progress and outcome.problems:
                    print(f"failed: {repeat_command(outcome)}: {outcome.problems[0]}", flush=True)
                if progress and done % PROGRESS_INTERVAL == 0:
                    minutes = (time.monotonic() - begin) / 60
                    print(f"{done:,} cases, {len(summary.failures):,} failed, {minutes:.1f} min", flush=True)
        server.close()

    with junk_servers() as ports, ThreadPoolExecutor(servers) as pool:
        list(pool.map(work, [f"server-{number}" for number in range(servers)]))
    return summary
