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

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("include", "spark_jobs", "tests", "pyproject.toml")
# A mutation can cause an endless loop.
TIMEOUT_SECONDS = 900
# Errors which show that the mutated code does not run, instead of giving a wrong result.
CRASHES = ("SyntaxError", "NameError", "ImportError", "AttributeError", "TypeError", "AnalysisException")


@dataclass(frozen=True)
class Mutation:
    """One way to break a rule, and the tests that must detect it."""

    rule: str
    mutation: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


CANDLES = "tests/spark/test_candles.py"
BUILD = "tests/spark/test_build_candles.py"
INTERVALS = "tests/unit/model/test_intervals.py"
PLANNING = ("tests/unit/model/test_build_planner.py", "tests/unit/model/test_build_planner_properties.py")

MUTATIONS = (
    Mutation(
        "order: time, source sequence, id",
        "trades with equal times are ordered by descending sequence",
        "spark_jobs/compute/trade_columns.py",
        '        F.col("source_sequence"),\n',
        '        (-F.col("source_sequence")).alias("source_sequence"),\n',
        (f"{CANDLES}::test_equal_timestamps_are_ordered_by_source_sequence_before_id",),
    ),
    Mutation(
        "order: time, source sequence, id",
        "numeric ids compare as text",
        "spark_jobs/compute/trade_columns.py",
        "F.when(is_number, F.length(digits))",
        "F.when(is_number, 0)",
        (f"{CANDLES}::test_every_field_equals_the_reference_model",),
    ),
    Mutation(
        "order by microsecond",
        "trades are ordered by millisecond",
        "spark_jobs/compute/trade_columns.py",
        '    microsecond = F.pmod("timestamp", F.lit(MICROSECONDS_PER_HOUR))\n',
        '    microsecond = F.pmod("timestamp", F.lit(MICROSECONDS_PER_HOUR)) - F.pmod("timestamp", F.lit(1000))\n',
        (f"{CANDLES}::test_trades_of_one_millisecond_are_ordered_by_microsecond",),
    ),
    Mutation(
        "windows are half-open: [start, end)",
        "windows are (start, end]",
        "spark_jobs/compute/time_predicates.py",
        "F.col(time) - F.pmod(time, F.lit(length))",
        "F.col(time) - 1 - F.pmod(F.col(time) - 1, F.lit(length))",
        (f"{CANDLES}::test_windows_are_half_open_to_the_microsecond",),
    ),
    Mutation(
        "open and close follow the trade order",
        "the open is the price of the first row read",
        "spark_jobs/compute/trade_aggregation.py",
        'F.min_by("price_units", order).alias("open"),',
        'F.first("price_units").alias("open"),',
        (f"{CANDLES}::test_the_order_of_files_does_not_matter",),
    ),
    Mutation(
        "candles are rebuilt, never added to",
        "an updated volume is the sum of the stored and the new volume",
        "spark_jobs/iceberg/candle_writer.py",
        '*(F.coalesce(f"value.{name}", f"new.{name}").alias(name) for name in VALUES),',
        '*((F.coalesce(f"value.{name}", f"new.{name}") if name != "volume" else (F.col("value.volume") + F.when('
        'F.col("action") == "updated", F.col("old.volume")).otherwise(0)).cast("decimal(18,8)")).alias(name)'
        " for name in VALUES),",
        (f"{BUILD}::test_duplicates_count_once_and_corrections_replace_trades",),
    ),
    Mutation(
        "candles are rebuilt, never added to",
        "the stored candles of rebuilt windows are carried over too",
        "spark_jobs/iceberg/candle_writer.py",
        "stored.where(replaced & ~is_rebuilt)",
        "stored.where(replaced)",
        (f"{BUILD}::test_a_rebuild_preserves_the_other_candles_of_the_partition",),
    ),
    Mutation(
        "a rebuild preserves the other candles of the partition",
        "partitions are overwritten with only the rebuilt windows",
        "spark_jobs/iceberg/candle_writer.py",
        "carried.unionByName(rebuilt, allowMissingColumns=True)",
        "carried.limit(0).unionByName(rebuilt, allowMissingColumns=True)",
        (f"{BUILD}::test_a_rebuild_preserves_the_other_candles_of_the_partition",),
    ),
    Mutation(
        "ranges are whole windows",
        "a scheduled range starts at the lookback, not at a window",
        "include/ohlcv/model/intervals.py",
        "Range(floor_time(end - timeframe.lookback, timeframe.length), end)",
        "Range(end - timeframe.lookback, end)",
        (INTERVALS,),
    ),
    Mutation(
        "ranges are whole windows",
        "a scheduled range ends at the data interval, not at a window",
        "include/ohlcv/model/intervals.py",
        "    end = floor_time(interval_end, timeframe.length)\n",
        "    end = interval_end\n",
        (INTERVALS,),
    ),
    Mutation(
        "only complete windows are written",
        "a requested range is not cut at the last complete window",
        "include/ohlcv/model/intervals.py",
        "last_complete if end >= last_complete else ceil_time(end, timeframe.length)",
        "ceil_time(end, timeframe.length)",
        (INTERVALS,),
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
        "without a change there is no commit",
        "unchanged candles cause a commit",
        "spark_jobs/iceberg/candle_writer.py",
        "if row.action in summary_keys.CHANGES",
        "if row.action is not None",
        (f"{BUILD}::test_a_rerun_commits_nothing",),
    ),
    Mutation(
        "a trade counts once",
        "repeated deliveries of a trade all count",
        "spark_jobs/compute/trade_aggregation.py",
        'has_duplicates = F.col("rejected").isNull() & (F.col("block_count") > F.bit_count("block_seen_bits"))',
        "has_duplicates = F.lit(False)",
        (f"{BUILD}::test_duplicates_count_once_and_corrections_replace_trades",),
    ),
    Mutation(
        "a trade counts once",
        "versions in different minutes are not compared",
        "spark_jobs/compute/trade_aggregation.py",
        'Window.partitionBy("block_key", "rejected", *PARTITION)',
        'Window.partitionBy("block_key", "rejected", *PARTITION, "window")',
        (f"{CANDLES}::test_a_correction_moves_its_trade_to_another_minute",),
    ),
    Mutation(
        "a trade counts once",
        "deliveries equal in every field all count",
        "spark_jobs/compute/trade_aggregation.py",
        'F.expr(f"{name} div trade_count")',
        "F.col(name)",
        (f"{CANDLES}::test_deliveries_equal_in_every_field_count_once",),
    ),
    Mutation(
        "files are replaced as a whole",
        "a file whose last window is the first rebuilt one is not replaced",
        "spark_jobs/iceberg/partial_overwrite.py",
        "if last >= start:",
        "if last > start:",
        ("tests/spark/test_partial_overwrite.py::test_no_file_is_replaced_in_part",),
    ),
    Mutation(
        "order: time, source sequence, id",
        "ids order trades even if source sequences differ",
        "spark_jobs/compute/trade_aggregation.py",
        '(F.min("min_offset") == F.max("max_offset"))',
        "F.lit(True)",
        (f"{CANDLES}::test_equal_timestamps_are_ordered_by_source_sequence_before_id",),
    ),
    Mutation(
        "sums are exact",
        "the carry between two parts of a notional is lost",
        "spark_jobs/compute/fixed_point.py",
        "high_price * low_quantity + carry_1",
        "high_price * low_quantity",
        (f"{CANDLES}::test_every_field_equals_the_reference_model",),
    ),
)

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


def run_tests(copy: Path, tests: Iterable[str]) -> Outcome:
    """Run tests in the copy until the first failure."""
    command = [
        *(sys.executable, "-m", "pytest", "-x", "-q", "--tb=short", "-p", "tested_code_check"),
        *("-p", "no:cacheprovider", "-o", "console_output_style=classic", *tests),
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


def prove(mutations: Sequence[Mutation], with_baseline: bool) -> int:
    """Apply the mutations one after the other and return the number that no test detected."""
    rows = []
    with copied_repository() as copy:
        if with_baseline:
            tests = dict.fromkeys(test for mutation in mutations for test in mutation.tests)
            log("baseline: the chosen tests must pass without a mutation")
            outcome = run_tests(copy, tests)
            if outcome.failed:
                raise ScriptError(f"{outcome.failed} fails without a mutation:\n{outcome.output[-3000:]}")
        for mutation in mutations:
            begin = time.monotonic()
            with mutated(copy, mutation):
                outcome = run_tests(copy, mutation.tests)
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
    parser.add_argument("--only", metavar="TEXT", default="", help="only rules and mutations that contain this text")
    parser.add_argument("--list", action="store_true", help="list the rules and mutations without running tests")
    parser.add_argument("--no-baseline", action="store_true", help="do not run the tests on the copy before mutations")
    return parser


def main() -> int:
    """Run the mutation test and return the exit code."""
    values = arg_parser().parse_args()
    chosen = [each for each in MUTATIONS if values.only in each.rule or values.only in each.mutation]
    if not chosen:
        log(f"error: no rule or mutation contains '{values.only}'")
        return 2
    if values.list:
        print_table([("rule", "mutation", "tests"), *((m.rule, m.mutation, ", ".join(m.tests)) for m in chosen)])
        return 0
    try:
        survived = prove(chosen, with_baseline=not values.no_baseline)
    except ScriptError as error:
        log(f"error: {error}")
        return 2
    if survived:
        log(f"error: no test detected {survived} of the mutations")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
