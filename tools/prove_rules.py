"""Mutation test of the candle rules: break each rule in a copy of the repository and check that a test fails.

Every mutation is a text that must occur exactly once in its file. The script replaces it in a copy and runs the tests
chosen for the rule against the copy. A mutation that no test detects means that a test is missing (exit code 1). A test
that fails because the mutated code does not run at all proves nothing, so it counts as an error of this script (exit
code 2). So does a copy whose tests fail before any mutation.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rule_mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("dags", "include", "plugins", "spark_jobs", "tests", "pyproject.toml")
# A mutation can cause an endless loop.
TIMEOUT_SECONDS = 900
# Code that the native engine can run instead of Spark's own.
AGGREGATION = "spark_jobs/compute/"
# Errors which show that the mutated code does not run, instead of giving a wrong result.
CRASHES = ("SyntaxError", "NameError", "ImportError", "AttributeError", "TypeError", "AnalysisException")


# A pytest plugin in the copy. It checks that the tests ran the code of the copy. Hypothesis draws the same examples in
# every run and does not shrink failing ones, which would take minutes.
TESTED_CODE_CHECK = """
import sys
from pathlib import Path

from hypothesis import Phase, settings

settings.register_profile("prove-rules", derandomize=True, phases=[Phase.explicit, Phase.generate])
settings.load_profile("prove-rules")


def pytest_sessionfinish(session):
    here = Path(__file__).resolve().parent
    for name in ("ohlcv", "spark_jobs"):
        for module in [each for each in sys.modules if each == name or each.startswith(name + ".")]:
            file = Path(sys.modules[module].__file__).resolve()
            if not file.is_relative_to(here):
                print(f"OTHER CODE {module} {file}", flush=True)
"""


class ScriptError(Exception):
    """An error of this script or the copy, not of the tests."""


@contextmanager
def copied_repository() -> Iterator[Path]:
    """Yield a temporary copy of everything that the tests need."""
    with tempfile.TemporaryDirectory(prefix="prove-rules-") as scratch:
        copy = Path(scratch).resolve() / "repository"
        copy.mkdir()
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy2(source, copy / name)
        (copy / "tested_code_check.py").write_text(TESTED_CODE_CHECK)
        yield copy


@contextmanager
def mutated(copy: Path, mutation: Mutation) -> Iterator[None]:
    """Apply a mutation inside the block and restore the file afterwards."""
    file = copy / mutation.file
    text = file.read_text()
    if (found := text.count(mutation.old)) != 1:
        raise ScriptError(f"{mutation.file} contains this text {found} times, not once: {mutation.old!r}")
    file.write_text(text.replace(mutation.old, mutation.new))
    try:
        yield
    finally:
        file.write_text(text)


@dataclass(frozen=True)
class Outcome:
    """Result of a test run: the first failed test, or None."""

    failed: str | None
    output: str


def run_tests(copy: Path, tests: Iterable[str], engine: str) -> Outcome:
    """Run tests in the copy until the first failure."""
    command = [
        *(sys.executable, "-m", "pytest", "-x", "-q", "--tb=short", "-p", "tested_code_check"),
        *("-p", "no:cacheprovider", "-o", "console_output_style=classic", *tests),
        # With the cases of the Spark jobs that `make test` leaves out.
        *("-m", "not (catalogs or crash_recovery or hostile or services)"),
        # Some tests run on both engines.
        *("--engine", engine, "-k", "not jvm" if engine == "native" else "not native"),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OHLCV_", "PYTEST_"))}
    # PYTHONPATH precedes the installed packages, which refer to the repository itself. Byte code is not written: two
    # mutations of a file within one second and with the same length would share it.
    environment |= {"PYTHONPATH": f"{copy / 'include'}:{copy}", "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    output = result.stdout + result.stderr
    if foreign := re.search("^OTHER CODE .*", output, re.MULTILINE):
        raise ScriptError(f"the tests did not run the code of the copy: {foreign[0]}")
    if result.returncode == 0:
        return Outcome(None, output)
    failed = re.search(r"^FAILED (\S+)", output, re.MULTILINE)
    if result.returncode != 1 or failed is None:
        raise ScriptError(f"pytest ended with exit code {result.returncode}:\n{output[-3000:]}")
    return Outcome(failed[1], output)


def crash_in(output: str) -> str | None:
    """Return the error line if a test failed because the mutated code does not run."""
    found = re.search(rf"^E +([\w.]*(?:{'|'.join(CRASHES)}))\b.*", output, re.MULTILINE)
    return found[0] if found else None


def prove(mutations: Sequence[Mutation], engine: str, with_baseline: bool) -> int:
    """Apply the mutations one after the other and return the number that no test detected on an engine."""
    rows = []
    with copied_repository() as copy:
        if with_baseline:
            tests = dict.fromkeys(test for mutation in mutations for test in mutation.tests)
            log("baseline: the chosen tests must pass without a mutation")
            outcome = run_tests(copy, tests, engine)
            if outcome.failed:
                raise ScriptError(f"{outcome.failed} fails without a mutation:\n{outcome.output[-3000:]}")
        for mutation in mutations:
            begin = time.monotonic()
            with mutated(copy, mutation):
                outcome = run_tests(copy, mutation.tests, engine)
            if crash := crash_in(outcome.output):
                raise ScriptError(f"'{mutation.mutation}' does not run and proves nothing: {crash}")
            detected_by = outcome.failed or "NONE: a test is missing"
            log(f"{mutation.mutation}: {detected_by} ({time.monotonic() - begin:.0f} s)")
            rows.append((mutation.rule, mutation.mutation, detected_by.removeprefix("tests/")))
    print_table([("rule", "mutation", "detected by"), *rows])
    return sum(detected_by.startswith("NONE") for _, _, detected_by in rows)


def log(text: str) -> None:
    """Print progress to stderr; the result goes to stdout."""
    print(text, file=sys.stderr, flush=True)


def print_table(rows: list[tuple[str, str, str]]) -> None:
    """Print aligned columns with the first row as headings."""
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for number, row in enumerate(rows):
        line = " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        print(line.rstrip())
        if number == 0:
            print("-+-".join("-" * width for width in widths))


def arg_parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="prove_rules.py"
    )
    parser.add_argument(
        "--only",
        metavar="TEXT",
        action="append",
        help="only rules and mutations that contain this text; may be repeated",
    )
    parser.add_argument(
        "--engine",
        choices=("jvm", "native"),
        default="jvm",
        help="engine of the jobs; native: only mutations of the aggregation, which it runs",
    )
    parser.add_argument("--list", action="store_true", help="list the rules and mutations without running tests")
    parser.add_argument("--no-baseline", action="store_true", help="do not run the tests on the copy before mutations")
    return parser


def main() -> int:
    """Run the mutation test and return the exit code."""
    values = arg_parser().parse_args()
    texts = values.only or [""]
    chosen = [each for each in MUTATIONS if any(text in each.rule or text in each.mutation for text in texts)]
    if values.engine == "native":
        chosen = [each for each in chosen if each.file.startswith(AGGREGATION)]
    if not chosen:
        log(f"error: no rule or mutation contains {' or '.join(map(repr, texts))}")
        return 2
    if values.list:
        print_table([("rule", "mutation", "tests"), *((m.rule, m.mutation, ", ".join(m.tests)) for m in chosen)])
        return 0
    try:
        survived = prove(chosen, values.engine, with_baseline=not values.no_baseline)
    except ScriptError as error:
        log(f"error: {error}")
        return 2
    if survived:
        log(f"error: no test detected {survived} of the mutations")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
