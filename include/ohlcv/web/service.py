"""State of the candle service that the routes share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from ohlcv.config.settings import Settings
from ohlcv.model.errors import InputError, OhlcvError, quoted
from ohlcv.model.timeframes import TIMEFRAMES, check_enabled
from ohlcv.web.caching import ResponseCache
from ohlcv.web.data import CandleData
from ohlcv.web.problems import ProblemError, bad_request, unavailable
from ohlcv.web.request_limits import WorkPool
from ohlcv.web.table_index import TableIndex


@dataclass
class Service:
    """Data, threads and cached responses of a candle service."""

    settings: Settings
    data: CandleData
    # Requests for candles: short work on cached columns, or reading of files. With six threads instead of two, 50
    # clients wait a seventh longer, because the threads wait for each other (for the lock of the interpreter).
    work: WorkPool = field(default_factory=lambda: WorkPool("candles", threads=2, queue=250))
    # Requests with provisional candles: they read trades, while others need not wait.
    provisional: WorkPool = field(default_factory=lambda: WorkPool("provisional", threads=2, queue=100))
    # Bulk downloads, one at a time: two exceed the memory of the worker. The queue is short: each has a large answer.
    bulk: WorkPool = field(default_factory=lambda: WorkPool("bulk", threads=1, queue=6))
    # Status and quality: they wait for Airflow.
    documents: WorkPool = field(default_factory=lambda: WorkPool("documents", threads=2, queue=50))
    cache: ResponseCache = field(default_factory=ResponseCache)
    _refreshed: bool = False

    def overrun(self) -> bool:
        """Return whether some work has exceeded its deadline three times."""
        return any(pool.overrun() for pool in self._pools())

    def close(self) -> None:
        """Start no further work and end the refresher."""
        for pool in self._pools():
            pool.close()
        self.data.close()

    def _pools(self) -> tuple[WorkPool, ...]:
        return self.work, self.provisional, self.bulk, self.documents

    async def find_index(self, timeframe: str) -> TableIndex:
        """Return the index of a candle table. Only before the first refresh it waits, in a thread."""
        if self._refreshed:
            return self.index(timeframe)
        found = await self.work.run(self.index, timeframe)
        self._refreshed = True
        return found

    def index(self, timeframe: str) -> TableIndex:
        """Return the index of a candle table. Raise ProblemError if it is not known. Waits for the first refresh."""
        try:
            found = self.data.index(timeframe)
        except OhlcvError:  # the refresher has logged it
            raise unavailable("the catalog cannot be read: try again, or ask the operator to see the log") from None
        if found is None:
            raise unavailable(f"there is no table of {timeframe} candles: run 'ohlcv tables create'", 60)
        return found

    def check_series(self, timeframe: str, index: TableIndex, symbol: str | None, exchange: str | None) -> None:
        """Raise ProblemError if it is certain that a table has no such series. For answers without a candle."""
        if symbol and exchange and self.data.lacks_series(timeframe, index, symbol, exchange):
            raise ProblemError(
                404, f"no series {quoted(symbol)} on {quoted(exchange)} in {timeframe}: see /api/v1/series"
            )


async def find_service(request: Request) -> Service:
    """Return the state of the service that handles a request. Asynchronous: others are executed in a thread."""
    service: Service = request.app.state.service
    return service


def readable_timeframes(request: Request) -> tuple[str, ...]:
    """Return the timeframes that the client may read."""
    names: tuple[str, ...] = request.scope["state"]["timeframes"]
    return names


def check_readable(request: Request, timeframe: str) -> None:
    """Raise ProblemError if a timeframe is not enabled, or the client may not read it."""
    service: Service = request.app.state.service
    try:
        check_enabled(timeframe, service.settings.enabled)
    except InputError as error:
        raise bad_request(str(error)) from None
    if timeframe not in readable_timeframes(request):
        dag_id = TIMEFRAMES[timeframe].dag_id
        raise ProblemError(403, f"you may not read the timeframe {timeframe}: ask for read access to the DAG {dag_id}")


ServiceState = Annotated[Service, Depends(find_service)]
