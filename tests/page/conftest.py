"""API servers of Airflow with the simple and the FAB auth manager, which start the candle service themselves."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables
from ohlcv.ledger.recording import record
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES
from support.api_servers import ApiServer, api_server
from support.candle_rows import HOUR, Row, at, candle, extend_table, write_candles
from support.ledger import RecordedHistory

REQUIRE_COMMANDS = Path(__file__).parents[2] / "tools" / "require_commands.sh"
BEGIN = at("2026-03-01")
CANDLES = 48


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.option.collectonly or not any(item.get_closest_marker("page") for item in session.items):
        return
    result = subprocess.run([REQUIRE_COMMANDS, "page"], capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.exit(result.stderr.strip(), returncode=1)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with recorded candles of one series in every table."""
    home = tmp_path_factory.mktemp("home")
    settings = load_settings({"OHLCV_HOME": str(home)})
    create_tables(settings)
    for timeframe in DEFAULT_TIMEFRAMES.values():
        starts: list[datetime] = [BEGIN + number * timeframe.length for number in range(CANDLES)]
        rows = [candle(timeframe, start, "100", "BTC-USD", "coinbase") for start in starts]
        if timeframe == HOUR:
            write_versions(settings, rows)
        else:
            write_candles(settings, timeframe, *rows)
            record(settings, timeframe)
    # Klines are of extended tables only.
    extend_table(settings, HOUR)
    return home


def write_versions(settings: Settings, rows: list[Row]) -> None:
    """Write candles of one hour, of which the first has three versions."""
    first, *others = rows
    corrected = {**first, "trade_count": 4}
    history = RecordedHistory(settings, HOUR, BEGIN + HOUR.length)
    history.job(others)
    history.job([first], dag_id="ohlcv_1h", run_id="scheduled__1")
    history.advance(HOUR.length)
    history.job(
        [corrected],
        trigger="reprocess",
        dag_id="ohlcv_reprocess",
        run_id="manual__1",
        causes=["trade added", "trade corrected"],
        lateness=90_000_000,
    )
    history.job([{**corrected, "trade_count": 5}], trigger="other writer", causes=["unknown"])
    history.record()


@pytest.fixture(scope="session", params=["simple", "fab"])
def server(request: pytest.FixtureRequest, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    folder = tmp_path_factory.mktemp(request.param) / "airflow"
    with api_server(folder, request.param, {"OHLCV_HOME": str(home)}) as running:
        yield running
