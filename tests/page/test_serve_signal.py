"""`ohlcv serve` on a TCP port ends by a signal, with its worker."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest

from support.candle_service import BEARER
from support.serving import Serving

pytestmark = pytest.mark.page


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_a_service(tmp_path: Path, number: signal.Signals) -> None:
    with Serving(tmp_path, "--port", "0") as serving:
        answer = httpx.get(f"{serving.address}/udf/time", headers=BEARER, timeout=60, trust_env=False)
        assert answer.status_code == 200
        worker = serving.worker()
        serving.process.send_signal(number)
        assert serving.end() == 0
    assert not Path(f"/proc/{worker}").exists()
    assert "Traceback" not in serving.log
