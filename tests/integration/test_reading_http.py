"""The recipes for the HTTP API in docs/reading.md and in the notebook, on a real candle service."""

from __future__ import annotations

import csv
import io
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from ohlcv.config.settings import load_settings
from support.candle_rows import Row
from support.command_line import OHLCV
from support.documents import named_blocks, notebook_cells, run_block, run_code
from support.reading import store_candles

BLOCKS = named_blocks("reading.md")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], list[Row]]]:
    """Start the service as the document says, on a free port; yield the variables of a client and the candles."""
    folder = tmp_path_factory.mktemp("service")
    hours = store_candles(load_settings({"OHLCV_HOME": str(folder / "home")}), wide=True)
    variable, new_token, serve = BLOCKS["api-service"].code.splitlines()
    name, _, tokens = variable.removeprefix("export ").partition("=")
    environment = {**os.environ, "OHLCV_HOME": str(folder / "home"), name: tokens}
    commands = [[str(OHLCV), *line.split()[1:]] for line in (new_token, serve)]
    token = subprocess.run(
        commands[0], cwd=folder, env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    with subprocess.Popen(
        [*commands[1], "--port", "0"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip().removeprefix("candle service: ")
        yield {"API": address, "TOKEN": token, "OHLCV_HOME": environment["OHLCV_HOME"]}, hours
        process.send_signal(signal.SIGTERM)


@pytest.fixture
def hours(service: tuple[dict[str, str], list[Row]], monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """Name the service by the environment, and return the candles that the recipes read."""
    variables, hours = service
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return hours


def as_json(row: Row) -> Row:
    """Return a candle as the API writes it: decimals as texts with all places, times and dates as ISO texts in UTC."""

    def convert(value: Any) -> Any:
        if isinstance(value, Decimal):
            return f"{value:.8f}"
        return value.isoformat().replace("+00:00", "Z") if isinstance(value, date) else value

    return {name: convert(value) for name, value in row.items()}


def test_curl_prints_the_stored_candles(hours: list[Row]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["bash", "-c", BLOCKS["api-curl"].code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    expected = [{name: str(value) for name, value in as_json(row).items()} for row in hours]
    assert list(csv.DictReader(io.StringIO(printed))) == expected


def test_json_pages_have_the_stored_candles(hours: list[Row]) -> None:
    variables = run_block(BLOCKS, "api-json")
    assert variables["candles"] == [as_json(row) for row in hours]
    assert variables["closes"] == [row["close_price"] for row in hours]


def test_arrow_has_the_stored_candles(hours: list[Row]) -> None:
    assert run_block(BLOCKS, "api-arrow")["candles"].to_pylist() == hours


def test_an_unchanged_table_is_not_sent_again(hours: list[Row]) -> None:
    assert run_block(BLOCKS, "api-etag")["has_changed"] is False


def test_the_notebook_agrees_with_the_api(hours: list[Row]) -> None:
    variables: dict[str, Any] = {}
    cells = notebook_cells("how-to/candles.ipynb")
    for name in ("import", "series", "hours", "api"):
        run_code(cells[name], f"cell {name}", variables)
    assert variables["api_agrees"] is True
