"""Random histories of trades, runs, crashes, maintenance and recordings: after every step all tables equal the model.

`make test-faults SEED=7 EXAMPLE=17` repeats a history.
"""

from __future__ import annotations

import os

import pytest
from pyspark.sql import SparkSession

from support.random_histories import EXCHANGES, RandomHistories

pytestmark = pytest.mark.faults

SEED = int(os.environ.get("SEED") or 1)
EXAMPLE = os.environ.get("EXAMPLE")
EXAMPLES = [int(EXAMPLE)] if EXAMPLE else range(int(os.environ.get("EXAMPLES") or 6))


@pytest.fixture(scope="module")
def histories(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> RandomHistories:
    exchanges = int(os.environ.get("EXCHANGES") or EXCHANGES)
    return RandomHistories(spark, tmp_path_factory.mktemp("histories"), SEED, exchanges)


@pytest.mark.parametrize("number", EXAMPLES)
def test_after_every_step_all_tables_equal_the_model(histories: RandomHistories, number: int) -> None:
    failure = histories.run(number)
    assert failure is None, failure
    print(f"seed {SEED}: {vars(histories.totals)}")
