"""The doctor before a real S3 store and a real REST catalog: wrong keys, no bucket, no rights, all in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables
from ohlcv.model.errors import OhlcvError
from ohlcv.monitoring.doctor import run_checks
from support.stores import ObjectStore, RestCatalog

pytestmark = [
    pytest.mark.catalogs,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]


def faults(environment: dict[str, str], project: Path) -> dict[str, str]:
    found = run_checks(environment, project)
    return {check.name: check.found for check in found if check.state == "fault" and check.name != "archives"}


@pytest.fixture
def site(store: ObjectStore, tmp_path: Path) -> dict[str, str]:
    return {
        "OHLCV_HOME": str(tmp_path / "home"),
        "OHLCV_WAREHOUSE": f"s3://{store.new_bucket()}/candles",
        **store.environment,
    }


def test_a_sound_store_has_no_fault_and_keeps_no_trace(
    site: dict[str, str], store: ObjectStore, tmp_path: Path
) -> None:
    create_tables(load_settings(site))
    assert faults(site, tmp_path) == {}
    bucket = store.folder / site["OHLCV_WAREHOUSE"].removeprefix("s3://")
    assert not list(bucket.glob(".ohlcv-probe*"))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            {"OHLCV_S3_SECRET_KEY": "wrong"},
            "refuses our keys (The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method.): correct OHLCV_S3_ACCESS_KEY and OHLCV_S3_SECRET_KEY",
        ),
        ({"OHLCV_S3_ACCESS_KEY": "nobody"}, "): correct OHLCV_S3_ACCESS_KEY and OHLCV_S3_SECRET_KEY"),
        (
            {"OHLCV_WAREHOUSE": "s3://no-such-bucket/candles"},
            "has no bucket no-such-bucket (The specified bucket does not exist.): "
            "create it, or correct OHLCV_WAREHOUSE",
        ),
        ({"OHLCV_S3_REGION": "eu-west-1"}, "): correct OHLCV_S3_REGION"),
    ],
    ids=["wrong secret key", "unknown access key", "missing bucket", "wrong region"],
)
def test_what_is_wrong_with_a_store_is_told(
    site: dict[str, str], store: ObjectStore, tmp_path: Path, change: dict[str, str], fault: str
) -> None:
    found = faults({**site, **change}, tmp_path)["warehouse"]
    assert found.startswith(f"the store {store.endpoint} ")
    assert found.endswith(fault)
    print(found)
    # Tables are not made on it either, and for the same reason.
    with pytest.raises(OhlcvError) as caught:
        create_tables(load_settings({**site, **change}))
    assert str(caught.value) == found


def test_the_keys_may_be_those_that_awss_sdk_finds(
    site: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ours, theirs in (("ACCESS_KEY", "ACCESS_KEY_ID"), ("SECRET_KEY", "SECRET_ACCESS_KEY")):
        monkeypatch.setenv(f"AWS_{theirs}", site.pop(f"OHLCV_S3_{ours}"))
    create_tables(load_settings(site))
    assert faults(site, tmp_path) == {}


def test_a_table_whose_store_refuses_us_leads_to_the_doctor(site: dict[str, str], tmp_path: Path) -> None:
    create_tables(load_settings(site))
    found = faults({**site, "OHLCV_S3_SECRET_KEY": "wrong"}, tmp_path)
    assert found.keys() == {"warehouse", "tables"}
    assert found["tables"].startswith("market_data.gold_crypto_trades cannot be read (")
    assert found["tables"].endswith("): see 'ohlcv doctor'")


def test_a_rest_catalog_in_order(nessie: RestCatalog, tmp_path: Path) -> None:
    site = {"OHLCV_HOME": str(tmp_path), **nessie.new_branch()}
    assert faults(site, tmp_path) == {
        "tables": "there is no table market_data.gold_crypto_trades: run 'ohlcv tables create'"
    }
    create_tables(load_settings(site))
    assert faults(site, tmp_path) == {}


def test_a_warehouse_that_a_rest_catalog_does_not_know(nessie: RestCatalog, tmp_path: Path) -> None:
    site = {"OHLCV_HOME": str(tmp_path), **nessie.new_branch(), "OHLCV_WAREHOUSE": "nobodys"}
    [(name, fault)] = faults(site, tmp_path).items()
    assert name == "catalog"
    assert "answers with an error (" in fault
    assert fault.endswith("Warehouse 'nobodys' is not known): check OHLCV_CATALOG_URI and OHLCV_WAREHOUSE")
