"""Prove the tests: break each rule of the candles in a copy of the repository and see which test notices.

Every mutation is a piece of text that must be found exactly once in its file; it is replaced in a copy, and the
tests chosen for the rule run there against the copy's code. A mutation that no test notices is a missing test:
the exit code is then 1. Tests that fail because the mutated code does not run at all prove nothing and count as
a mistake of this script (exit code 2), as does a copy whose own tests fail before anything is broken.
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

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("include", "spark_jobs", "tests", "pyproject.toml")
# A broken rule may also make a loop endless.
TIMEOUT_SECONDS = 900
# Signs that the mutation is no valid program, rather than a wrong one.
CRASHES = ("SyntaxError", "NameError", "ImportError", "AttributeError", "TypeError", "AnalysisException")


@dataclass(frozen=True)
class Mutation:
    """One way to break a rule, and the tests that should notice."""

    rule: str
    mutation: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


CANDLES = "tests/spark/test_candles.py"
BUILD = "tests/spark/test_build_candles.py"
WINDOWS = "tests/unit/model/test_intervals.py"
PLANNING = ("tests/unit/model/test_build_planner.py", "tests/unit/model/test_build_planner_properties.py")

MUTATIONS = (
    Mutation(
        "ties by sequence, then id",
        "of trades at one time, the last sequence comes first",
        "spark_jobs/compute/trade_columns.py",
        '        F.col("source_sequence"),\n',
        '        (-F.col("source_sequence")).alias("source_sequence"),\n',
        (f"{CANDLES}::test_the_source_sequence_orders_ties_before_ids",),
    ),
    Mutation(
        "ties by sequence, then id",
        "ids that are numbers compare as text",
        "spark_jobs/compute/trade_columns.py",
        "F.when(is_number, F.length(digits))",
        "F.when(is_number, 0)",
        (f"{CANDLES}::test_every_field_equals_the_oracle",),
    ),
    Mutation(
        "time to the microsecond",
        "trades are ordered by the millisecond",
        "spark_jobs/compute/trade_columns.py",
        '    microsecond = F.pmod("timestamp", F.lit(MICROSECONDS_PER_HOUR))\n',
        '    microsecond = F.pmod("timestamp", F.lit(MICROSECONDS_PER_HOUR)) - F.pmod("timestamp", F.lit(1000))\n',
        (f"{CANDLES}::test_microseconds_order_trades_of_one_millisecond",),
    ),
    Mutation(
        "windows are [start, end)",
        "windows are (start, end]",
        "spark_jobs/compute/time_predicates.py",
        "F.col(time) - F.pmod(time, F.lit(length))",
        "F.col(time) - 1 - F.pmod(F.col(time) - 1, F.lit(length))",
        (f"{CANDLES}::test_a_microsecond_decides_the_window",),
    ),
    Mutation(
        "open and close by a total order",
        "open and close are the first and last row met",
        "spark_jobs/compute/trade_aggregation.py",
        'F.min_by("price_units", order).alias("open"),',
        'F.first("price_units").alias("open"),',
        (f"{CANDLES}::test_the_order_of_files_does_not_matter",),
    ),
    Mutation(
        "rebuild, never add",
        "an updated volume is the stored one plus the new one",
        "spark_jobs/iceberg/candle_writer.py",
        '*(F.coalesce(f"value.{name}", f"new.{name}").alias(name) for name in VALUES),',
        '*((F.coalesce(f"value.{name}", f"new.{name}") if name != "volume" else (F.col("value.volume") + F.when('
        'F.col("action") == "updated", F.col("old.volume")).otherwise(0)).cast("decimal(18,8)")).alias(name)'
        " for name in VALUES),",
        (f"{BUILD}::test_duplicates_count_once_and_corrections_supersede",),
    ),
    Mutation(
        "rebuild, never add",
        "rebuilt windows are carried over as well",
        "spark_jobs/iceberg/candle_writer.py",
        "stored.where(replaced & ~starts_within(ranges))",
        "stored.where(replaced)",
        (f"{BUILD}::test_a_partition_keeps_its_other_candles",),
    ),
    Mutation(
        "a partition keeps its other candles",
        "partitions are overwritten with the rebuilt windows alone",
        "spark_jobs/iceberg/candle_writer.py",
        "carried.unionByName(rebuilt)",
        "carried.limit(0).unionByName(rebuilt)",
        (f"{BUILD}::test_a_partition_keeps_its_other_candles",),
    ),
    Mutation(
        "ranges are whole windows",
        "a scheduled range starts wherever the lookback ends",
        "include/ohlcv/model/intervals.py",
        "Range(floor_time(end - timeframe.lookback, timeframe.length), end)",
        "Range(end - timeframe.lookback, end)",
        (WINDOWS,),
    ),
    Mutation(
        "ranges are whole windows",
        "a scheduled range ends with the data interval",
        "include/ohlcv/model/intervals.py",
        "    end = floor_time(interval_end, timeframe.length)\n",
        "    end = interval_end\n",
        (WINDOWS,),
    ),
    Mutation(
        "only complete windows are written",
        "a requested range is not cut at the last complete window",
        "include/ohlcv/model/intervals.py",
        "last_complete if end >= last_complete else ceil_time(end, timeframe.length)",
        "ceil_time(end, timeframe.length)",
        (WINDOWS,),
    ),
    Mutation(
        "only complete windows are written",
        "a pending hour is rebuilt to its end, complete or not",
        "include/ohlcv/model/build_planner.py",
        "    end = min(span.end, own_range.end)\n",
        "    end = span.end\n",
        PLANNING,
    ),
    Mutation(
        "no pending hour is lost",
        "hours with incomplete windows do not stay pending",
        "include/ohlcv/model/build_planner.py",
        "frozenset(deferred | unfinished)",
        "frozenset(deferred)",
        PLANNING,
    ),
    Mutation(
        "no change, no commit",
        "unchanged candles are written again",
        "spark_jobs/iceberg/candle_writer.py",
        'if row.action in ("inserted", "updated", "deleted")',
        "if row.action is not None",
        (f"{BUILD}::test_a_rerun_commits_nothing",),
    ),
    Mutation(
        "a trade counts once",
        "every delivery of a trade counts",
        "spark_jobs/compute/trade_aggregation.py",
        'repeated = F.col("rejected").isNull() & (F.col("count_there") > F.bit_count("seen_there"))',
        "repeated = F.lit(False)",
        (f"{BUILD}::test_duplicates_count_once_and_corrections_supersede",),
    ),
    Mutation(
        "a trade counts once",
        "a version in another minute is not seen",
        "spark_jobs/compute/trade_aggregation.py",
        'Window.partitionBy("place", "rejected", *HOUR)',
        'Window.partitionBy("place", "rejected", *HOUR, "window")',
        (f"{CANDLES}::test_a_correction_moves_its_trade_to_another_minute",),
    ),
    Mutation(
        "a trade counts once",
        "deliveries that are alike count each",
        "spark_jobs/compute/trade_aggregation.py",
        'F.expr(f"{name} div trade_count")',
        "F.col(name)",
        (f"{CANDLES}::test_deliveries_that_are_alike_in_every_field_count_once",),
    ),
    Mutation(
        "what is not rebuilt is kept",
        "a file that a rebuilt window ends in is left alone",
        "spark_jobs/iceberg/partial_overwrite.py",
        "if last >= begin:",
        "if last > begin:",
        ("tests/spark/test_partial_overwrite.py::test_no_file_is_cut",),
    ),
    Mutation(
        "ties by sequence, then id",
        "ids order trades whatever their sequences say",
        "spark_jobs/compute/trade_aggregation.py",
        '(F.min("least_lead") == F.max("most_lead"))',
        "F.lit(True)",
        (f"{CANDLES}::test_the_source_sequence_orders_ties_before_ids",),
    ),
    Mutation(
        "sums are exact",
        "what does not fit into a part of a turnover is lost",
        "spark_jobs/compute/fixed_point.py",
        "high_price * low_quantity + carried_1",
        "high_price * low_quantity",
        (f"{CANDLES}::test_every_field_equals_the_oracle",),
    ),
)

# Loaded by the copy's pytest: which code was tested is looked at where it was tested. Hypothesis draws the same
# examples at every run, and spends no minutes on making a failing one small.
GUARD = """
import sys
from pathlib import Path

from hypothesis import Phase, settings

settings.register_profile("proof", derandomize=True, phases=[Phase.explicit, Phase.generate])
settings.load_profile("proof")


def pytest_sessionfinish(session):
    here = Path(__file__).resolve().parent
    for name in ("ohlcv", "spark_jobs"):
        for module in [each for each in sys.modules if each == name or each.startswith(name + ".")]:
            file = Path(sys.modules[module].__file__).resolve()
            if not file.is_relative_to(here):
                print(f"FOREIGN CODE {module} {file}", flush=True)
"""


class ProofError(Exception):
    """Something is wrong with this script or the copy, not with the tests."""


@contextmanager
def copy_of_the_repository() -> Iterator[Path]:
    """Copy what the tests need into a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="broken-rules-") as scratch:
        copy = Path(scratch).resolve() / "repository"
        copy.mkdir()
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy2(source, copy / name)
        (copy / "tested_code_guard.py").write_text(GUARD)
        yield copy


@contextmanager
def broken(copy: Path, mutation: Mutation) -> Iterator[None]:
    """Apply a mutation, and take it back."""
    file = copy / mutation.file
    text = file.read_text()
    if (found := text.count(mutation.old)) != 1:
        raise ProofError(f"{mutation.file} holds this text {found} times, not once: {mutation.old!r}")
    file.write_text(text.replace(mutation.old, mutation.new))
    try:
        yield
    finally:
        file.write_text(text)


@dataclass(frozen=True)
class Outcome:
    """How a run of tests ended: what failed first, if anything did."""

    failed: str | None
    output: str


def run_tests(copy: Path, tests: Iterable[str]) -> Outcome:
    """Run tests in the copy, up to the first failure."""
    command = [
        *(sys.executable, "-m", "pytest", "-x", "-q", "--tb=short", "-p", "tested_code_guard"),
        *("-p", "no:cacheprovider", "-o", "console_output_style=classic", *tests),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OHLCV_", "PYTEST_"))}
    # Before the installed packages, which point at the repository itself. No byte code is kept: two mutations
    # of a file within one second and of one length would share it.
    environment |= {"PYTHONPATH": f"{copy / 'include'}:{copy}", "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    output = result.stdout + result.stderr
    if foreign := re.search("^FOREIGN CODE .*", output, re.MULTILINE):
        raise ProofError(f"the copy's tests ran other code than the copy's: {foreign[0]}")
    if result.returncode == 0:
        return Outcome(None, output)
    failed = re.search(r"^FAILED (\S+)", output, re.MULTILINE)
    if result.returncode != 1 or failed is None:
        raise ProofError(f"pytest ended with {result.returncode}:\n{output[-3000:]}")
    return Outcome(failed[1], output)


def crash_in(output: str) -> str | None:
    """Give the error of a test that failed because the mutated code does not run."""
    found = re.search(rf"^E +([\w.]*(?:{'|'.join(CRASHES)}))\b.*", output, re.MULTILINE)
    return found[0] if found else None


def prove(mutations: Sequence[Mutation], with_baseline: bool) -> int:
    """Break the rules one after the other; give the number that survived."""
    rows = []
    with copy_of_the_repository() as copy:
        if with_baseline:
            tests = dict.fromkeys(test for mutation in mutations for test in mutation.tests)
            say("unbroken: the chosen tests must pass")
            outcome = run_tests(copy, tests)
            if outcome.failed:
                raise ProofError(f"{outcome.failed} fails although nothing is broken:\n{outcome.output[-3000:]}")
        for mutation in mutations:
            begin = time.monotonic()
            with broken(copy, mutation):
                outcome = run_tests(copy, mutation.tests)
            if crash := crash_in(outcome.output):
                raise ProofError(f"'{mutation.mutation}' does not run, so it proves nothing: {crash}")
            caught_by = outcome.failed or "NOTHING: a test is missing"
            say(f"{mutation.mutation}: {caught_by} ({time.monotonic() - begin:.0f} s)")
            rows.append((mutation.rule, mutation.mutation, caught_by.removeprefix("tests/")))
    print_table([("rule", "mutation", "caught by"), *rows])
    return sum(caught_by.startswith("NOTHING") for _, _, caught_by in rows)


def say(text: str) -> None:
    """Show progress beside the result."""
    print(text, file=sys.stderr, flush=True)


def print_table(rows: list[tuple[str, str, str]]) -> None:
    """Print columns as wide as their contents, the first row as headings."""
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for number, row in enumerate(rows):
        line = " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        print(line.rstrip())
        if number == 0:
            print("-+-".join("-" * width for width in widths))


def arg_parser() -> argparse.ArgumentParser:
    """Give the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="prove_rules.py"
    )
    parser.add_argument("--only", metavar="TEXT", default="", help="only rules and mutations that hold this text")
    parser.add_argument("--list", action="store_true", help="show the rules and mutations, run nothing")
    parser.add_argument("--no-baseline", action="store_true", help="do not first run the tests on the unbroken copy")
    return parser


def main() -> int:
    """Prove the tests."""
    values = arg_parser().parse_args()
    chosen = [each for each in MUTATIONS if values.only in each.rule or values.only in each.mutation]
    if not chosen:
        say(f"error: no rule or mutation holds '{values.only}'")
        return 2
    if values.list:
        print_table([("rule", "mutation", "tests"), *((m.rule, m.mutation, ", ".join(m.tests)) for m in chosen)])
        return 0
    try:
        survived = prove(chosen, with_baseline=not values.no_baseline)
    except ProofError as error:
        say(f"error: {error}")
        return 2
    if survived:
        say(f"error: {survived} broken rules were not noticed")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
