"""The registry and the job scripts agree: each script exists and refuses the timeframes of the other one."""

from __future__ import annotations

from pathlib import Path

import pytest

import spark_jobs
from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, TIMEFRAMES
from spark_jobs.jobs.build_candles import read_request

SCRIPTS = {timeframe.script for timeframe in DEFAULT_TIMEFRAMES.values()}


def arguments(timeframe: str) -> list[str]:
    return ["--timeframe", timeframe, "--start", "2026-03-01T00:00:00Z", "--end", "2026-03-02T00:00:00Z"]


def test_every_registered_script_exists() -> None:
    folder = Path(spark_jobs.__path__[0])
    assert [script for script in SCRIPTS if not (folder / script).is_file()] == []


@pytest.mark.parametrize("name", DEFAULT_TIMEFRAMES)
def test_a_script_accepts_its_own_timeframes(name: str) -> None:
    request = read_request(TIMEFRAMES[name].script, load_settings({}), arguments(name))
    assert request.timeframe.name == name


@pytest.mark.parametrize("name", DEFAULT_TIMEFRAMES)
def test_a_script_refuses_the_timeframes_of_the_other_script(name: str) -> None:
    [other] = SCRIPTS - {TIMEFRAMES[name].script}
    expected = f"^{name} candles are built by {TIMEFRAMES[name].script}, not by {other}: start that script$"
    with pytest.raises(InputError, match=expected):
        read_request(other, load_settings({}), arguments(name))
