"""Hostile requests to the candle API: through the gateway of Airflow to the candle service, over real tables.

`make test-hostile` runs more (CASES, SEED), or repeats one (SEED, CASE).
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from hostile.api_checks import problems_of
from hostile.api_requests import ApiRequest, api_request
from ohlcv.config.settings import load_settings
from ohlcv.coverage.recording import record_coverage
from ohlcv.iceberg.tables import create_tables
from ohlcv.ingest.loader import append_trades
from ohlcv.ingest.sample_data import Feed
from ohlcv.orchestration import candle_access
from ohlcv.orchestration.candle_service import RunningService
from ohlcv.web.app import create_app, create_routes
from ohlcv.web.data import CandleData
from ohlcv.web.service import Service
from support.candle_rows import HOUR, at, candle
from support.candle_service import GATEWAY_TOKEN
from support.gateway import EventLoop, client_of, mounted
from support.ledger import RecordedHistory

BEGIN = at("2026-03-01")
NOW = int(BEGIN.timestamp()) + 86_400
HOURS = 30
# Names that a query language, a template or a file system could take for something else.
SERIES = [("A", "X"), ("BTC-USD", "coinbase"), ("a'b\"c;--", "{{ 7 * 7 }}"), ("ß/é%20💥", "../X")]
GATE_SEED, GATE_CASES = 1, 100
DEFAULT_CASES = 2000
MAX_REPORTS = 30
# A request that takes longer hangs: the service answers within its own deadline of 10 s.
SECONDS = 120


class Served:
    """The gateway in front of the service, and the rows of its table."""

    def __init__(self, app: Starlette, rows: list[dict[str, Any]], names: dict[str, list[str]]) -> None:
        self.app = app
        self.rows = rows
        # The parameters of each documented path.
        self.names = names

    def send(self, request: ApiRequest) -> httpx.Response:
        async def send() -> httpx.Response:
            async with client_of(self.app) as client, asyncio.timeout(SECONDS):
                headers = {"Authorization": "Bearer good"}
                headers |= {name: value for name, value in request.headers.items() if value.isascii()}
                return await client.request(
                    request.method, f"/ohlcv{request.target}", headers=headers, content=request.body
                )

        return EventLoop.runner.run(send())


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    async def get_user(*_: object) -> object:
        return object()

    monkeypatch.setattr(candle_access, "get_user", get_user)
    monkeypatch.setattr(candle_access, "readable_dags", lambda _, dag_ids: set(dag_ids))
    settings = load_settings(
        {
            "OHLCV_HOME": str(tmp_path),
            "OHLCV_API_TOKENS": str(tmp_path / "tokens"),
            "OHLCV_API_GATEWAY_TOKEN": GATEWAY_TOKEN,
        }
    )
    (tmp_path / "tokens").write_text("client token-of-a-client-of-the-tests\n")
    create_tables(settings)
    history = RecordedHistory(settings, HOUR, BEGIN)
    starts: list[datetime] = [BEGIN + number * HOUR.length for number in range(HOURS)]
    rows = [candle(HOUR, start, "100", symbol, exchange) for start in starts for symbol, exchange in SERIES]
    history.job(rows)
    history.record()
    append_trades(settings, Feed(BEGIN).batch(BEGIN + HOUR.length, 100))
    record_coverage(settings, BEGIN + 2 * HOUR.length)
    data = CandleData(settings)
    data.refresh()
    service = Service(settings, data)
    running = RunningService("http://candles", GATEWAY_TOKEN)
    transport = httpx.ASGITransport(create_app(service), raise_app_exceptions=False)
    running.client = httpx.AsyncClient(transport=transport, base_url="http://candles")
    document = create_routes(service).openapi()
    names = {
        path: [each["name"] for each in operations["get"].get("parameters", ())]
        for path, operations in document["paths"].items()
    }
    with asyncio.Runner() as EventLoop.runner:
        EventLoop.services = []
        known = [{**row, "micros": int(row["window_start"].timestamp()) * 1_000_000} for row in rows]
        yield Served(mounted(lambda: running), known, names)
        EventLoop.runner.run(running.client.aclose())
    service.close()


def generate(served: Served, seed: int, number: int) -> ApiRequest:
    return api_request(random.Random(f"{seed}/api/{number}"), NOW, SERIES, served.names)


def run_cases(
    served: Served, caplog: pytest.LogCaptureFixture, seed: int, numbers: Iterable[int]
) -> tuple[Counter[int], list[str]]:
    """Send requests. Return the number of answers by status, and the failures."""
    counts: Counter[int] = Counter()
    failures = []
    for number in numbers:
        request = generate(served, seed, number)
        caplog.clear()
        response = served.send(request)
        counts[response.status_code] += 1
        found = list(problems_of(request, response, served.rows))
        found += [f"log: {each.getMessage()[:300]}" for each in caplog.records if each.levelno >= logging.ERROR]
        if found:
            shown = f"{request.method} {request.target[:400]} {str(request.headers)[:200]}"
            failures.append(f"make test-hostile SEED={seed} CASE={number}\n  {shown}\n  {found}")
    last = served.send(ApiRequest("/api/v1/candles?timeframe=1h&limit=5000"))
    assert len(last.json()["candles"]) == len(served.rows)
    return counts, failures


def test_the_first_hostile_requests_of_a_seed(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    counts, failures = run_cases(served, caplog, GATE_SEED, range(1, GATE_CASES + 1))
    assert not failures, "\n".join(failures[:MAX_REPORTS])
    assert sum(counts.values()) == GATE_CASES


@pytest.mark.hostile
@pytest.mark.timeout(0)
def test_many_hostile_requests(
    served: Served, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    seed, case = int(os.environ.get("SEED") or 1), os.environ.get("CASE")
    numbers = [int(case)] if case else range(1, int(os.environ.get("CASES") or DEFAULT_CASES) + 1)
    counts, failures = run_cases(served, caplog, seed, numbers)
    with capsys.disabled():
        print("\nanswers by status: " + ", ".join(f"{status}: {count:,}" for status, count in sorted(counts.items())))
    assert not failures, "\n".join([f"{len(failures)} cases failed", *failures[:MAX_REPORTS]])
