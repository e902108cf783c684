"""Folder of published candles: the files that are compared, and errors of one file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ohlcv.config.settings import Settings
from ohlcv.model.errors import InputError
from ohlcv.model.tolerances import Tolerances
from ohlcv.reconciliation.folder import FolderReport, reconcile_folder
from support.candle_rows import HOUR, MINUTE, write_candles
from support.published_candles import FETCHED, NOW, Published, random_candles, write_file

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
SINCE = NOW - timedelta(days=7)
PLACE = "kraken-ohlc/X/BTC/1m"

Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    def put(
        place: str,
        name: str,
        candles: Sequence[Published] | str,
        modified: datetime = FETCHED,
        layout: str = "kraken csv",
    ) -> Path:
        folder = tmp_path / "folder" / place
        timeframe = HOUR if place.endswith("1h") else MINUTE
        path = write_file(folder, layout, [] if isinstance(candles, str) else candles, timeframe, name)
        if isinstance(candles, str):
            path.write_text(candles)
        os.utime(path, (modified.timestamp(), modified.timestamp()))
        return path

    return put


@pytest.fixture
def scan(settings: Settings, tmp_path: Path) -> Callable[[], FolderReport]:
    return lambda: reconcile_folder(settings, tmp_path / "folder", Tolerances(), SINCE, NOW)


def test_the_files_of_a_series_are_one_reconciliation(
    settings: Settings, put: Put, scan: Callable[[], FolderReport]
) -> None:
    ours = random_candles(1, 6, MINUTE)
    write_candles(settings, MINUTE, *(each.row(MINUTE) for each in ours))
    write_candles(settings, HOUR, *(each.row(HOUR, "BTC/USD", "X Y") for each in random_candles(2, 2, HOUR)))
    put(PLACE, "a.csv", ours[:3])
    put(PLACE, "b.csv", [ours[3], replace(ours[4], close=ours[4].close + 1)])
    put("generic/X%20Y/BTC%2FUSD/1h", "c.csv", random_candles(2, 2, HOUR), layout="generic")
    put(PLACE, ".hidden", "x")
    report = scan()
    assert report.errors == {}
    assert {name: each.counts["equal"] for name, each in report.reconciliations.items()} == {
        PLACE: 4,
        "generic/X%20Y/BTC%2FUSD/1h": 2,
    }
    assert report.reconciliations[PLACE].counts["different"] == 1
    assert report.reconciliations["generic/X%20Y/BTC%2FUSD/1h"].series == "X Y: X Y BTC/USD 1h"


def test_old_files_are_not_read(settings: Settings, put: Put, scan: Callable[[], FolderReport]) -> None:
    ours = random_candles(3, 2, MINUTE)
    write_candles(settings, MINUTE, *(each.row(MINUTE) for each in ours))
    put(PLACE, "old.csv", "x", SINCE - timedelta(seconds=1))
    put(PLACE, "new.csv", ours, SINCE)
    report = scan()
    assert (report.errors, report.reconciliations[PLACE].counts["equal"]) == ({}, 2)


def test_an_invalid_file_does_not_stop_the_others(
    settings: Settings, put: Put, scan: Callable[[], FolderReport]
) -> None:
    ours = random_candles(4, 4, MINUTE)
    write_candles(settings, MINUTE, *(each.row(MINUTE) for each in ours))
    put(PLACE, "a.csv", ours[:2])
    put(PLACE, "b.csv", "1,2,3\n")
    put(PLACE, "c.csv", ours[1:3])
    put(PLACE, "d.csv", ours[2:])
    put("kraken-ohlc/X/ETH/1m", "a.csv", ours)
    put("kraken/X/BTC/1m", "a.csv", ours)
    put("kraken-ohlc/X/BTC/2m", "a.csv", ours)
    put("kraken-ohlc/X/BTC", "a.csv", ours)
    report = scan()
    assert report.reconciliations[PLACE].counts["equal"] == 4
    assert {name: error.split("folder/")[-1].split(":")[0] for name, error in report.errors.items()} == {
        f"{PLACE}/b.csv": f"{PLACE}/b.csv, line 1",
        f"{PLACE}/c.csv": f"{PLACE}/a.csv overlap at 2026-03-01T00",
        "kraken-ohlc/X/ETH/1m": "no 1m candle has symbol 'ETH' and exchange 'X'",
        "kraken/X/BTC/1m": "folder kraken/X/BTC/1m",
        "kraken-ohlc/X/BTC/2m": "folder kraken-ohlc/X/BTC/2m",
        "kraken-ohlc/X/BTC/a.csv": "kraken-ohlc/X/BTC/a.csv is not in FORMAT/EXCHANGE/SYMBOL/TIMEFRAME/",
    }


def test_a_missing_folder_is_named(scan: Callable[[], FolderReport]) -> None:
    with pytest.raises(InputError, match=r"OHLCV_RECONCILE_FOLDER: .* is no folder: create it"):
        scan()
