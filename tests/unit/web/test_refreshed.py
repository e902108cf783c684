"""Values read in the background: one refresh at a time, limited waiting, and pauses after failures."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ohlcv.model.errors import OhlcvError
from ohlcv.web import refreshed
from ohlcv.web.refreshed import Refreshed


class Source:
    """Source of numbers that a test can block or let fail."""

    def __init__(self) -> None:
        self.reads = 0
        self.error: Exception | None = None
        self.open = threading.Event()
        self.open.set()

    def read(self) -> int:
        self.reads += 1
        self.open.wait()
        if self.error:
            raise self.error
        return self.reads


@pytest.fixture
def source() -> Iterator[Source]:
    source = Source()
    yield source
    source.open.set()


def test_a_value_is_read_again_when_it_is_old(source: Source) -> None:
    fresh, old = Refreshed(source.read, 3_600), Refreshed(source.read, 0)
    assert [fresh.get(), fresh.get()] == [(1, None), (1, None)]
    assert [old.get(), old.get()] == [(2, None), (3, None)]


def test_a_request_does_not_wait_for_a_blocked_source(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshed, "PATIENCE_SECONDS", 0.01)
    value = Refreshed(source.read, 0)
    source.open.clear()
    assert value.get() == (None, "Airflow has not answered yet: try again in a few seconds")
    assert value.get()[0] is None
    assert source.reads == 1


def test_the_last_value_is_returned_while_the_source_is_blocked(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = Refreshed(source.read, 0)
    assert value.get() == (1, None)
    monkeypatch.setattr(refreshed, "PATIENCE_SECONDS", 0.01)
    source.open.clear()
    assert value.get() == (1, None)


def test_requests_at_the_same_time_share_one_refresh(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshed, "PATIENCE_SECONDS", 60)
    value = Refreshed(source.read, 3_600)
    source.open.clear()
    answers: list[tuple[int | None, str | None]] = []
    threads = [threading.Thread(target=lambda: answers.append(value.get())) for _ in range(5)]
    for thread in threads:
        thread.start()
    source.open.set()
    for thread in threads:
        thread.join()
    assert answers == [(1, None)] * 5


def test_a_failed_source_is_not_asked_again_at_once(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    value = Refreshed(source.read, 0)
    assert value.get() == (1, None)
    source.error = OhlcvError("it is down")
    assert [value.get(), value.get()] == [(1, "it is down")] * 2
    assert source.reads == 2
    monkeypatch.setattr(refreshed, "RETRY_SECONDS", 0)
    again = Refreshed(source.read, 0)
    assert again.get() == (None, "it is down")
    source.error = None
    assert again.get() == (4, None)


def test_an_unreadable_response_does_not_end_the_refreshes(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshed, "RETRY_SECONDS", 0)
    value = Refreshed(source.read, 0)
    source.error = KeyError("dag_id")
    assert value.get() == (None, "a response of Airflow cannot be read: see the log of the candle service")
    source.error = None
    assert value.get() == (2, None)
