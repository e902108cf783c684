"""Checks random histories until a time is over: `make soak MINUTES=60`.

Usage: soak.py [--minutes N | --histories N] [--seed N] [--first N] [--exchanges N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from support.harness import spark_session
from support.random_histories import EXCHANGES, RandomHistories
from support.random_history_tables import Totals


def main() -> int:
    """Run histories of one seed, print a report, and return the exit code."""
    options = _parser().parse_args()
    # Libraries warn of deprecated functions.
    warnings.simplefilter("ignore")
    seed = int(time.time()) if options.seed is None else options.seed
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as name, spark_session(Path(name) / "spark") as spark:
        folder = Path(name) / "histories"
        folder.mkdir()
        histories = RandomHistories(spark, folder, seed, options.exchanges)
        number, failure = options.first, None
        while failure is None and _goes_on(options, number, time.monotonic() - begin):
            failure = histories.run(number)
            number += 1
            _show_progress(histories.totals, time.monotonic() - begin)
    report = _report(histories.totals, seed, time.monotonic() - begin)
    print(file=sys.stderr)
    print("\n".join(f"{name:22} {value}" for name, value in report.items()))
    if options.json:
        options.json.write_text(json.dumps({**report, "failure": failure}, indent=2) + "\n")
    if failure is None:
        return 0
    print(f"\nfailed: {failure}")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="a history that has begun is finished")
    parser.add_argument("--histories", type=int, help="number of histories, instead of a time")
    parser.add_argument("--seed", type=int, help="default: another one each time")
    parser.add_argument("--first", type=int, default=0, help="number of the first history")
    parser.add_argument("--exchanges", type=int, default=EXCHANGES, help="independent exchanges of a history")
    parser.add_argument("--json", type=Path, help="file for the report")
    return parser


def _goes_on(options: argparse.Namespace, number: int, seconds: float) -> bool:
    if options.histories is not None:
        return bool(number < options.first + options.histories)
    return bool(seconds < options.minutes * 60)


def _report(totals: Totals, seed: int, seconds: float) -> dict[str, Any]:
    return {
        "seed": seed,
        "minutes": round(seconds / 60, 1),
        "histories of tables": totals.histories,
        "series histories": totals.series,
        "rows delivered": totals.rows,
        "runs": totals.runs,
        "crashes": totals.crashes,
        "candles compared": totals.candles,
        "publications compared": totals.publications,
        "revisions compared": totals.revisions,
        "coverage facts": totals.facts,
        "rejected rows counted": totals.rejected,
        "steps": ", ".join(f"{name} {count}" for name, count in totals.steps.most_common()),
        "memory MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "candles lost": totals.lost,
        "candles duplicated": totals.duplicated,
        "candles wrong": totals.wrong,
    }


def _show_progress(totals: Totals, seconds: float) -> None:
    end = "\r" if sys.stderr.isatty() else "\n"
    print(
        f"{seconds / 60:6.1f} min: {totals.histories} histories, {totals.series:,} series, {totals.runs:,} runs, "
        f"{totals.candles:,} candles compared",
        end=end,
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
