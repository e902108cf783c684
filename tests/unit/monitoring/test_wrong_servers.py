"""Addresses at which another program answers: each is reported in one line, within limits of time and size."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ohlcv.cli.main import main
from ohlcv.config import limited_reading
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg import rest_catalog
from ohlcv.iceberg.tables import open_catalog
from ohlcv.model.errors import OhlcvError
from ohlcv.model.timeframes import get_timeframe
from ohlcv.monitoring import airflow_client, doctor, health, http_json
from ohlcv.monitoring.airflow_client import AirflowApi
from ohlcv.monitoring.doctor import check_airflow, check_deployed_port, check_tables
from ohlcv.monitoring.measurements import Measurement
from support.json_server import json_server
from support.raw_server import http_response, raw_server

PASSWORD = "hunter2"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
HTML = b"<!doctype html>\n<html>\n<body>\n<h1>It works!</h1>\n</body>\n</html>\n"
RESPONSES = {
    "html": http_response(HTML),
    "error page": http_response(HTML, "502 Bad Gateway"),
    "not implemented": http_response(HTML, "501 Not Implemented"),
    "ssh": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "nothing": b"",
    "empty": http_response(b""),
    "object": http_response(b"{}"),
    "list": http_response(b"[]"),
    "null": http_response(b"null"),
    "nested": http_response(b"[" * 100_000),
    "binary": http_response(b"\x80\xff\0"),
    "truncated": http_response(b'{"workers": [{"state": "ALIVE"', length=10_000),
    "echo": http_response(b'{"detail": "unknown password hunter2"}', "401 Unauthorized"),
    "fields": http_response(b'{"workers": [7], "access_token": null, "version": 1, "defaults": 1, "overrides": []}'),
}
each_response = pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)


def settings_with(web: str, tmp_path: Path) -> Settings:
    return load_settings(
        {
            "OHLCV_HOME": str(tmp_path),
            "OHLCV_SPARK_WEB": web,
            "OHLCV_AIRFLOW_URL": web,
            "OHLCV_AIRFLOW_USER": "me",
            "OHLCV_AIRFLOW_PASSWORD": PASSWORD,
        }
    )


def assert_one_line(text: str, address: str) -> None:
    assert address in text
    assert "\n" not in text
    assert len(text) < 500
    assert PASSWORD not in text


@each_response
def test_a_wrong_server_for_airflow_is_reported(response: bytes, tmp_path: Path) -> None:
    with raw_server(response) as web:
        settings = settings_with(web, tmp_path)
        with pytest.raises(OhlcvError) as caught:
            check_airflow(settings)
        [measurement] = health.runs(settings, NOW)
    assert_one_line(str(caught.value), web)
    assert measurement == Measurement("runs", "last 24 h", str(caught.value), "", "alert")


@each_response
def test_a_wrong_server_for_the_master_is_reported(response: bytes, tmp_path: Path) -> None:
    with raw_server(response) as web:
        measurement = health.workers(settings_with(web, tmp_path))
    assert measurement.state == "alert"
    assert measurement.found.startswith(("the master's page does not answer (", f"{web} is not the master's page"))
    assert "\n" not in measurement.found


@pytest.mark.parametrize(
    "workers", [[{"state": "ALIVE"}], [{"state": "ALIVE", "cores": 1e999, "memory": 1}], {"state": "ALIVE"}, [None]]
)
def test_malformed_workers_are_reported(workers: Any, tmp_path: Path) -> None:
    with json_server({"/json/": {"workers": workers}}) as web:
        measurement = health.workers(settings_with(web, tmp_path))
    assert (measurement.state, measurement.found) == ("alert", f"{web} is not the master's page")


@pytest.mark.parametrize(
    "responses",
    [
        {"/api/v2/dags": {"dags": [{}]}},
        {"/api/v2/dags": {"dags": {"dag_id": "ohlcv_1m"}}},
        {"/api/v2/dags": {"dags": [{"dag_id": "ohlcv_1m"}]}, "/api/v2/dags/ohlcv_1m/dagRuns": {"dag_runs": [{}]}},
        {
            "/api/v2/dags": {"dags": [{"dag_id": "ohlcv_1m"}]},
            "/api/v2/dags/ohlcv_1m/dagRuns": {"dag_runs": [{"dag_run_id": "r", "state": "success"}]},
        },
        {
            "/api/v2/dags": {"dags": [{"dag_id": "ohlcv_1m"}]},
            "/api/v2/dags/ohlcv_1m/dagRuns": {
                "dag_runs": [{"dag_run_id": "r", "state": "success"}],
                "total_entries": 1,
            },
            "/api/v2/dags/ohlcv_1m/dagRuns/r/taskInstances": {"task_instances": [None]},
        },
    ],
)
def test_malformed_responses_of_airflow_are_reported(responses: dict[str, Any], tmp_path: Path) -> None:
    with json_server({"/auth/token": {"access_token": "t"}, **responses}) as web:
        settings = settings_with(web, tmp_path)
        [measurement] = health.runs(settings, NOW)
    assert measurement.state == "alert"
    assert_one_line(measurement.found, web)
    assert measurement.found.endswith(" is not that of Airflow: check the address")


def test_pages_without_end_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airflow_client, "MAX_PAGES", 3)
    runs = [{"dag_run_id": "r", "state": "success"}] * airflow_client.PAGE_SIZE
    answers = {"/auth/token": {"access_token": "t"}, "/api/v2/dags/d/dagRuns": {"dag_runs": runs}}
    with (
        json_server(answers) as web,
        pytest.raises(OhlcvError, match=f"^Airflow at {web} lists more than 300 runs of d$"),
    ):
        AirflowApi(web, "me", PASSWORD).runs("d")


@pytest.mark.parametrize("seconds", [None, "9", {}])
def test_a_job_without_a_duration_has_not_ended(seconds: Any) -> None:
    assert health.duration(get_timeframe("1m"), seconds).state == "unknown"


@each_response
def test_a_port_of_another_program_is_not_airflow(response: bytes) -> None:
    if response == RESPONSES["fields"]:
        return
    with raw_server(response) as web:
        port = web.rpartition(":")[2]
        with pytest.raises(OhlcvError, match=f"^port {port} is in use by another program: stop it, or set another"):
            check_deployed_port(f"{doctor.PORT_SETTING}={port}")


@each_response
def test_a_wrong_server_for_a_rest_catalog_is_reported(response: bytes) -> None:
    with raw_server(response) as web:
        settings = load_settings({"OHLCV_CATALOG_URI": web, "OHLCV_CATALOG_TOKEN": PASSWORD})
        with pytest.raises(OhlcvError) as caught:
            check_tables(settings)
    assert_one_line(str(caught.value).replace(f"unknown password {PASSWORD}", ""), f"the catalog {web} ")
    assert "check OHLCV_CATALOG_" in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ["tables", "create"],
        ["candles", "--timeframe", "1m", "--start", "2026-03-01", "--end", "2026-03-02"],
        ["health"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(
    ("response", "problem"),
    [
        (RESPONSES["object"], "is not an Iceberg REST catalog: check OHLCV_CATALOG_URI"),
        (RESPONSES["html"], "is not an Iceberg REST catalog: check OHLCV_CATALOG_URI"),
        (http_response(b"{}", "500 Internal Server Error"), "answers with an error ("),
    ],
)
def test_commands_report_a_wrong_server_for_a_rest_catalog(
    arguments: list[str],
    response: bytes,
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with raw_server(response) as web:
        monkeypatch.setenv("OHLCV_CATALOG_URI", web)
        with pytest.raises(SystemExit) as exit_info:
            main(arguments)
    [error] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert exit_info.value.code == 1
    assert error.startswith(f"error: the catalog {web} {problem}")


def test_responses_have_a_largest_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in (http_json, rest_catalog):
        monkeypatch.setattr(module, "MAX_BYTES", 2**20)
    with raw_server(http_response(b'{"workers": 1', length=2**40), endless=True) as web:
        settings = settings_with(web, tmp_path)
        found = health.workers(settings).found
        with pytest.raises(OhlcvError) as airflow:
            check_airflow(settings)
        with pytest.raises(OhlcvError) as catalog:
            open_catalog(load_settings({"OHLCV_CATALOG_URI": web}))
    assert found == "the master's page does not answer (the response is larger than 1048576 bytes)"
    assert "(the response is larger than 1048576 bytes)" in str(airflow.value)
    assert "(the response is larger than 1048576 bytes)" in str(catalog.value)


def test_responses_have_a_longest_duration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Every look at the clock advances it by ten minutes.
    clock = itertools.count(step=600)
    monkeypatch.setattr(limited_reading, "time", type("Clock", (), {"monotonic": staticmethod(lambda: next(clock))}))
    with raw_server(http_response(b'{"workers": 1', length=2**40), endless=True) as web:
        settings = settings_with(web, tmp_path)
        assert (
            health.workers(settings).found == "the master's page does not answer (the response takes longer than 10 s)"
        )
        with pytest.raises(
            OhlcvError, match=r"\(the response takes longer than 60 s\): start it or check the address$"
        ):
            check_airflow(settings)
        with pytest.raises(OhlcvError, match=r"\(the response takes longer than 60 s\): check OHLCV_CATALOG_URI$"):
            open_catalog(load_settings({"OHLCV_CATALOG_URI": web}))
