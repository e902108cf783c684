"""Runs of random histories by seed and number: each is executed, and a failing one is shortened and described."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from pyspark.sql import SparkSession

from support.random_history_generator import generate
from support.random_history_shrinking import Shrinker
from support.random_history_site import HistorySite
from support.random_history_steps import History
from support.random_history_tables import HistoryError, Totals

# Independent exchanges of one history.
EXCHANGES = 25
# A failing history is shortened for at most this time.
SHRINKING_SECONDS = 600.0


class RandomHistories:
    """The histories of a seed. Each has a folder of its own, which is removed afterwards."""

    def __init__(self, spark: SparkSession, folder: Path, seed: int, exchanges: int = EXCHANGES) -> None:
        self._spark = spark
        self._folder = folder
        self._seed = seed
        self._exchanges = exchanges
        self.totals = Totals()

    def run(self, number: int, shrinking_seconds: float = SHRINKING_SECONDS) -> str | None:
        """Check a history. Return how to repeat it and what failed, None if nothing did."""
        history = generate(f"{self._seed}-{number}", self._exchanges)
        failure = self._attempt(history, self.totals)
        if failure is None:
            self.totals.histories += 1
            self.totals.series += history.exchanges
            self.totals.rows += history.rows
            return None
        shrinker = Shrinker(history, failure, lambda each: self._attempt(each, Totals()), shrinking_seconds)
        shortest = shrinker.shrink()
        return (
            f"{failure}\n\nRepeat it: {self.command(number)}\n\n"
            f"The shortest failing history of {shrinker.attempts} that were tried, with {len(shortest.steps)} steps "
            f"and {shortest.rows} rows: {shrinker.failure}\n{shortest.to_text()}"
        )

    def command(self, number: int) -> str:
        """Return the command that repeats a history."""
        size = f" EXCHANGES={self._exchanges}" if self._exchanges != EXCHANGES else ""
        return f"make test-faults SEED={self._seed} EXAMPLE={number}{size}"

    def _attempt(self, history: History, totals: Totals) -> HistoryError | None:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            HistorySite(self._spark, folder / "home", history, totals).run()
        except HistoryError as failure:
            return failure
        finally:
            shutil.rmtree(folder)
        return None
