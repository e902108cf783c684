"""Renewal of vended S3 keys: when new ones are loaded, and what a failure means."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ohlcv.iceberg import vended_keys
from ohlcv.iceberg.vended_keys import EXPIRY, RenewedFileSystems

START = 1_000_000.0


class Keys:
    """A catalog that vends keys, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lifetime: float | None) -> None:
        self.now, self.lifetime, self.loaded, self.fails = START, lifetime, 0, False
        monkeypatch.setattr(vended_keys, "time", SimpleNamespace(time=lambda: self.now))
        self.file_systems = RenewedFileSystems(self.new(), self.new)
        self.loaded = 0

    def new(self) -> dict[str, str]:
        if self.fails:
            raise ConnectionError("no answer")
        self.loaded += 1
        keys = {"s3.access-key-id": "key", "s3.secret-access-key": f"secret {self.loaded}", "s3.region": "us-east-1"}
        return keys if self.lifetime is None else {**keys, EXPIRY: str(int((self.now + self.lifetime) * 1000))}

    def loads_at(self, seconds: float) -> int:
        """Return how often keys were loaded until so many seconds after the start."""
        self.now = START + seconds
        self.file_systems("s3", "bucket")
        return self.loaded


def test_keys_are_renewed_five_minutes_before_they_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(monkeypatch, 3600.0)
    assert [keys.loads_at(seconds) for seconds in (0, 3299, 3300, 6599, 6600)] == [0, 0, 1, 1, 2]


def test_short_lived_keys_are_renewed_after_half_of_their_life(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(monkeypatch, 60.0)
    assert [keys.loads_at(seconds) for seconds in (0, 29, 30, 59, 60)] == [0, 0, 1, 1, 2]


def test_a_bucket_has_one_file_system_until_the_keys_are_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(monkeypatch, 3600.0)
    first = keys.file_systems("s3", "bucket")
    assert keys.file_systems("s3", "bucket") is first
    keys.now += 3600
    assert keys.file_systems("s3", "bucket") is not first


def test_if_the_renewal_fails_the_keys_are_used_until_they_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(monkeypatch, 3600.0)
    keys.fails = True
    assert keys.loads_at(3300) == 0
    assert keys.loads_at(3599) == 0
    with pytest.raises(ConnectionError):
        keys.loads_at(3600)
    keys.fails = False
    assert keys.loads_at(3601) == 1


def test_new_keys_that_do_not_expire_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(monkeypatch, 3600.0)
    keys.lifetime = None
    assert [keys.loads_at(seconds) for seconds in (3300, 1e9)] == [1, 1]
