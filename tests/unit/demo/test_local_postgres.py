"""The demo's PostgreSQL server: private files, kept data, and no server without its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from ohlcv.demo.local_postgres import postgres_server
from support.processes import wait_for

pytestmark = pytest.mark.servers

START_AND_DIE = """
import os, signal, sys
from pathlib import Path
from ohlcv.demo.local_postgres import postgres_server
with postgres_server(Path(sys.argv[1])) as server:
    print(server.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_second_start_finds_the_data(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with postgres_server(tmp_path / "postgres") as server:
        server.execute("CREATE TABLE kept (value int)")
        with pytest.raises(psycopg.OperationalError):
            server.connect(password="wrong")
    with postgres_server(tmp_path / "postgres") as server:
        assert server.execute("SELECT count(*) FROM kept") == [(0,)]
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_a_killed_parent_takes_the_server_along(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", START_AND_DIE, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == -signal.SIGKILL
    status = Path(f"/proc/{int(result.stdout)}/status")
    wait_for(lambda: not status.exists(), "the server has ended")
