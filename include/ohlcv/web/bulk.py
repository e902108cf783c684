"""Bulk downloads: CSV, Parquet and Arrow streams in bounded memory."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ohlcv.web.encoding import csv_lines
from ohlcv.web.request_limits import WorkPool

MAX_ROWS = 1_000_000
# A client that reads nothing for so long is disconnected.
STALL_SECONDS = 30.0
MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}


def encode_stream(format: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Generator[bytes]:
    """Return the parts of a CSV, Parquet or Arrow file."""
    return {"csv": _csv, "parquet": _parquet, "arrow": _arrow}[format](schema, batches)


def _csv(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Generator[bytes]:
    yield (",".join(schema.names) + "\n").encode()
    for batch in batches:
        if len(batch):
            yield csv_lines(batch)


def _parquet(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Generator[bytes]:
    sink = _Parts()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield sink.take()
    yield sink.take()


def _arrow(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Generator[bytes]:
    sink = _Parts()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield sink.take()
    yield sink.take()


class _Parts(io.RawIOBase):
    """File that hands out what was written to it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        written = b"".join(self._parts)
        self._parts.clear()
        return written


class BulkResponse(Response):
    """Response whose parts are made in a thread, one at a time, as fast as the client reads them."""

    def __init__(
        self, pool: WorkPool, make: Callable[[], tuple[Mapping[str, str], Generator[bytes]]], media_type: str
    ) -> None:
        super().__init__(media_type=media_type)
        del self.headers["Content-Length"]
        self._pool = pool
        self._make = make

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Send the parts. Stop when the client has disconnected."""
        # Both before the response begins: an error is then answered with its status.
        headers, parts = await self._pool.run(self._make)
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            part = await self._pool.run(next, parts, None)
            self.headers.update(headers)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while part is not None and not gone.done():
                async with asyncio.timeout(STALL_SECONDS):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                part = await self._pool.run(next, parts, None)
            if part is None:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            # A thread that missed its deadline still executes the generator.
            with suppress(ValueError):
                parts.close()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
