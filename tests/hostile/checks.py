"""What must be true after every case, whatever its input was.

A check returns problems as texts; the first word group before a colon names the kind of problem.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from hostile.case import Case, Site
from hostile.home import TableState, data_folder, files_of, read_state
from hostile.process import Ended

# Documented in docs/commands.md. A shell reports 128 plus the number of a signal.
INTERRUPTED, BROKEN_PIPE, TERMINATED = 130, 141, 143
DOCUMENTED_CODES = {0, 1, 2, INTERRUPTED, BROKEN_PIPE, TERMINATED}
# Limit of the peak of the resident memory of a command, without the JVMs of `ohlcv doctor`.
MEMORY_LIMIT = 2 * 1024**3
# Commands whose exit code 1 may also mean that they found something.
FINDING_COMMANDS = {"validate", "health", "doctor", "build"}
TRACES = re.compile(
    r"Traceback \(most recent call last\)|Exception ignored|Fatal Python error|Error in sys\.excepthook|"
    r"terminate called|INTERNAL Error|During handling of the above|Segmentation fault"
)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Printed if a load is committed, but its report is lost.
LOST_REPORT = "the trades are loaded, but the report could not be printed"
REPORT = re.compile(r"^[\d,]+ rows read, ([\d,]+) loaded, ", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """Result of a case: how its commands ended, and which checks failed."""

    seed: int
    number: int
    kind: str
    codes: list[int]
    seconds: float
    peak_bytes: int
    problems: list[str]
    # Description of the case and of the end of its output, for the report of a failure.
    details: str


def check_case(
    seed: int,
    number: int,
    case: Case,
    site: Site,
    ends: list[Ended],
    before: TableState,
    files: dict[str, tuple[int, int]],
) -> Outcome:
    """Check the ends of all commands of a case, and the files and tables that they left."""
    problems = [
        problem
        for arguments, ended in zip(case.commands, ends, strict=True)
        for problem in check_command(case, arguments, ended)
    ]
    if case.completes and ends[-1].code != 0:
        problems.append(f"exit code: {ends[-1].code} of the last command: {last_line(ends[-1].stderr)}")
    problems += check_files(case, site, ends, before, files)
    return Outcome(
        seed=seed,
        number=number,
        kind=case.kind,
        codes=[ended.code for ended in ends],
        seconds=max(ended.seconds for ended in ends),
        peak_bytes=max(ended.peak_bytes for ended in ends),
        problems=problems,
        details=describe(case, ends),
    )


def describe(case: Case, ends: list[Ended]) -> str:
    """Return what a case did, in a few lines."""
    lines = [f"note: {case.note}"] if case.note else []
    defaults = Case("", [])
    for name in (
        "disk",
        "stdin",
        "stdout",
        "stderr",
        "signal",
        "file_size_limit",
        "free_bytes",
        "locked_seconds",
        "restricted",
        "removes_folder",
    ):
        if (value := getattr(case, name)) != getattr(defaults, name):
            lines.append(f"{name}: {value}")
    lines += [f"setting: {name}={value!r:.200}" for name, value in case.settings.items()]
    for arguments, ended in zip(case.commands, ends, strict=True):
        command = shlex.join(["ohlcv", *arguments])
        lines.append(f"$ {command!r:.400}  -> {ended.code}, {ended.seconds:.1f} s, {ended.peak_bytes / 2**20:.0f} MiB")
        lines += [
            f"  {name}: {shortened(text)!r}"
            for name, text in (("out", ended.stdout[-300:]), ("err", ended.stderr))
            if text
        ]
    return "\n".join(lines)


def shortened(text: str) -> str:
    """Return a text without its middle."""
    return text if len(text) <= 3000 else f"{text[:1500]} … {text[-1500:]}"


def check_command(case: Case, arguments: list[str], ended: Ended) -> Iterator[str]:
    """Check what a command printed and how it ended."""
    if ended.killed:
        yield f"hang: {ended.killed}"
        return
    output = ended.stdout + ended.stderr
    if trace := TRACES.search(output):
        yield f"traceback: {trace[0]}: {last_line(ended.stderr)}"
    yield from check_exit_code(case, ended)
    if ended.peak_bytes > MEMORY_LIMIT and arguments[:1] != ["doctor"]:
        yield f"memory: {ended.peak_bytes / 2**20:.0f} MiB"
    exact = arguments[:1] == ["candles"] and "csv" in arguments
    shown = ended.stderr + ("" if exact else ended.stdout)
    if case.settings.get("FORCE_COLOR"):
        shown = COLOUR.sub("", shown)
    if found := CONTROL_CHARACTERS.search(shown):
        yield f"control character: {found[0]!r} is printed"
    if case.secret is not None and case.secret in output:
        yield f"secret: a password is printed: {last_line(ended.stderr)}"
    if case.stderr == "pipe" and not ended.signalled:
        yield from check_error_line(case, arguments, ended)


def check_exit_code(case: Case, ended: Ended) -> Iterator[str]:
    """Check that the exit code is documented and that it is the right one."""
    if ended.code not in DOCUMENTED_CODES:
        yield f"exit code: {ended.code} is not documented"
    elif ended.code in (INTERRUPTED, TERMINATED) and not ended.signalled:
        yield f"exit code: {ended.code} without a signal"
    elif ended.code == BROKEN_PIPE and "broken" not in (case.stdout, case.stderr):
        yield f"exit code: {ended.code} without a closed pipe"
    elif case.codes is not None and ended.code not in case.codes and not ended.signalled:
        yield f"exit code: {ended.code}, expected {sorted(case.codes)}: {last_line(ended.stderr)}"


def check_error_line(case: Case, arguments: list[str], ended: Ended) -> Iterator[str]:
    """Check that a failure is one line `error: …`, the last of stderr."""
    lines = ended.stderr.rstrip("\n").split("\n")
    errors = [line for line in lines if line.startswith("error: ")]
    if ended.code == 0 and errors:
        yield f"error line: with exit code 0: {errors[0]}"
    if ended.code not in (1, 2):
        return
    refused = arguments[:2] == ["trades", "load"] and "refused" in ended.stdout and ended.code == 1
    found = arguments[:1] and arguments[0] in FINDING_COMMANDS and ended.code == 1
    if lines[0].startswith("Usage: ") or ((refused or found or case.stdout != "pipe") and not errors):
        return
    if len(errors) != 1 or lines[-1] != errors[0]:
        yield f"error line: {len(errors)} lines begin with 'error: ', expected 1 at the end: {last_line(ended.stderr)}"
    elif errors[0].startswith("error: unexpected "):
        yield f"unexpected error: {errors[0]}"


def last_line(text: str) -> str:
    return text.rstrip("\n").rpartition("\n")[2][:300]


def check_files(
    case: Case, site: Site, ends: list[Ended], before: TableState, files: dict[str, tuple[int, int]]
) -> Iterator[str]:
    """Check that every load is complete or has no effect, and that no file is lost or left behind."""
    if any(ended.killed for ended in ends):
        return
    # The log of an unexpected error, which is a problem of its own.
    if left := sorted(name for name in files_of(site.temporary) if not name.startswith("ohlcv-error-")):
        yield f"temporary files: {len(left)} left, such as {left[0]}"
    home = site.home(case.disk)
    now = files_of(home)
    lost = sorted(name for name in files if name.startswith("warehouse/") and now.get(name) != files[name])
    if lost:
        yield f"lost files: {lost[0]} was deleted or changed"
    if not case.is_readable:
        return
    try:
        state = before if now == files else read_state(home)
    except RuntimeError as error:
        yield f"unreadable table: {error}"
        return
    yield from check_rows(case, ends, before, state)
    data = data_folder()
    left = sorted(name for name in now.keys() - files.keys() if name.startswith(data))
    if left and state.commits == before.commits and not any(ended.signalled for ended in ends):
        yield f"data files: {len(left)} left although nothing was loaded"


def check_rows(case: Case, ends: list[Ended], before: TableState, state: TableState) -> Iterator[str]:
    """Compare the rows that the table has gained with those that the commands reported."""
    added, commits = state.rows - before.rows, state.commits - before.commits
    if state.distinct_messages != state.rows:
        yield f"duplicates: {state.rows - state.distinct_messages} messages are stored twice"
    if any(arguments[:2] == ["trades", "feed"] for arguments in case.commands):
        return
    reports = [reported_rows(arguments, ended) for arguments, ended in zip(case.commands, ends, strict=True)]
    known = [report for report in reports if report is not None]
    if len(known) == len(reports):
        if added != sum(known):
            yield f"rows: {added} were added, {sum(known)} reported"
        if case.new_rows is not None and ends[-1].code == 0 and added != case.new_rows:
            yield f"rows: {added} were added, expected {case.new_rows}"
        return
    # A disturbed command: its load is in the table or it is not.
    if commits > len(case.commands):
        yield f"rows: {commits} commits by {len(case.commands)} commands"
    if case.new_rows is not None and len(case.commands) == 1 and added not in (0, case.new_rows):
        yield f"rows: {added} were added, expected none or {case.new_rows}"


def reported_rows(arguments: list[str], ended: Ended) -> int | None:
    """Return the number of rows that a command says it has loaded; None if it could not say it."""
    if arguments[:1] != ["trades"]:
        return 0
    if found := REPORT.search(ended.stdout):
        return int(found[1].replace(",", ""))
    if ended.stdout.startswith("{"):
        try:
            return int(json.loads(ended.stdout)["loaded"])
        except (ValueError, KeyError):
            return None
    failed = ended.code in (1, 2) and "\nerror: " in f"\n{ended.stderr}"
    return 0 if failed and LOST_REPORT not in ended.stderr else None
