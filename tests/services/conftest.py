"""Two installations for the tests of a module: with the project's DAGs, and with a 1m DAG that runs every minute."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.sites import Site, running_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="module")
def minutely_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    dags = Path(__file__).parent / "dags"
    # With a lookback of one window, the lookback itself fills no gap.
    with running_site(
        tmp_path_factory.mktemp("minutely-site"), dags=dags, environment={"OHLCV_1M_LOOKBACK_MINUTES": "1"}
    ) as running:
        yield running
