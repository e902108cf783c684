"""Malformed files of published candles: each is refused in one line, and the other files of a folder are compared."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ohlcv.config.settings import Settings
from ohlcv.model.errors import InputError
from ohlcv.model.tolerances import Tolerances
from ohlcv.reconciliation.folder import reconcile_folder
from ohlcv.reconciliation.formats import read_published
from support.candle_rows import MINUTE, write_candles
from support.published_candles import FETCHED, NOW, START, kline, lines, random_candles, write_file

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
(CANDLE,) = random_candles(1, 1, MINUTE)


def kline_with_volume(text: str) -> str:
    """Return the JSON of a kline with a given text in place of its volume."""
    row = kline(CANDLE, MINUTE)
    row[5] = "VOLUME"
    return json.dumps([row]).replace('"VOLUME"', text)


def two_units() -> str:
    row = kline(CANDLE, MINUTE)
    row[6] = kline(CANDLE, MINUTE, 1)[6]
    return lines([row])


MALFORMED = {
    "close times of another unit": (
        two_units(),
        "line 1: the time 1772323259999999 is not in milliseconds as the first one of the file: use one unit",
    ),
    "exponent of 20 digits": (kline_with_volume("1e99999999999999999999"), "volume is '1e99999999999999999999': give"),
    "exponent of a long text": (kline_with_volume("1e999999999"), "volume is '1e999999999': give a number"),
    "half of a character": (kline_with_volume(r'"\ud800"'), "volume is '': give a number"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    text, expected = MALFORMED[case]
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_published(path, "binance-klines", None)
    assert expected in str(caught.value)


@pytest.mark.parametrize("text", ["12e-1", "1.2E+00", "0.12e001"])
def test_numbers_with_an_exponent_are_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file"
    path.write_text(kline_with_volume(text))
    assert str(read_published(path, "binance-klines", None).rows["volume"][0].as_py().normalize()) == "1.2"


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_does_not_stop_the_other_series(settings: Settings, tmp_path: Path, case: str) -> None:
    write_candles(settings, MINUTE, CANDLE.row(MINUTE))
    folder = tmp_path / "folder"
    bad = folder / "binance-klines/X/AAA/1m/bad"
    bad.parent.mkdir(parents=True)
    bad.write_text(MALFORMED[case][0])
    good = write_file(folder / "binance-klines/X/BTC/1m", "binance json", [CANDLE], MINUTE)
    for path in (bad, good):
        os.utime(path, (FETCHED.timestamp(), FETCHED.timestamp()))
    report = reconcile_folder(settings, folder, Tolerances(), START, NOW)
    assert list(report.errors) == ["binance-klines/X/AAA/1m/bad"]
    assert report.reconciliations["binance-klines/X/BTC/1m"].counts["equal"] == 1
