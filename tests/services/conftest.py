"""The services, started once: a site as it is installed, and one whose 1m DAG is due every minute."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.sites import Site, running_site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="module")
def quick_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    dags = Path(__file__).parent / "dags"
    # With a lookback of one window, whatever fills a hole is not the lookback.
    with running_site(
        tmp_path_factory.mktemp("quick-site"), dags=dags, environment={"OHLCV_1M_LOOKBACK_MINUTES": "1"}
    ) as running:
        yield running
