"""ohlcv doctor with a real S3 store and a real REST catalog: wrong keys, missing bucket, wrong region, no faults."""

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
def environment(store: ObjectStore, tmp_path: Path) -> dict[str, str]:
    return {
        "OHLCV_HOME": str(tmp_path / "home"),
        "OHLCV_WAREHOUSE": f"s3://{store.new_bucket()}/candles",
        **store.environment,
    }


def test_a_correct_store_has_no_fault_and_no_probe_file_remains(
    environment: dict[str, str], store: ObjectStore, tmp_path: Path
) -> None:
    create_tables(load_settings(environment))
    assert faults(environment, tmp_path) == {}
    bucket = store.folder / environment["OHLCV_WAREHOUSE"].removeprefix("s3://")
    assert not list(bucket.glob(".ohlcv-probe*"))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            {"OHLCV_S3_SECRET_KEY": "wrong"},
            "rejects the access keys (The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method.): correct OHLCV_S3_ACCESS_KEY and OHLCV_S3_SECRET_KEY",
        ),
        ({"OHLCV_S3_ACCESS_KEY": "nobody"}, "): correct OHLCV_S3_ACCESS_KEY and OHLCV_S3_SECRET_KEY"),
        (
            {"OHLCV_WAREHOUSE": "s3://no-such-bucket/candles"},
            "does not contain the bucket no-such-bucket (The specified bucket does not exist.): "
            "create it, or correct OHLCV_WAREHOUSE",
        ),
        ({"OHLCV_S3_REGION": "eu-west-1"}, "): correct OHLCV_S3_REGION"),
    ],
    ids=["wrong secret key", "unknown access key", "missing bucket", "wrong region"],
)
def test_each_fault_of_a_store_is_reported_with_its_remedy(
    environment: dict[str, str], store: ObjectStore, tmp_path: Path, change: dict[str, str], fault: str
) -> None:
    found = faults({**environment, **change}, tmp_path)["warehouse"]
    assert found.startswith(f"the store {store.endpoint} ")
    assert found.endswith(fault)
    print(found)
    # Table creation fails with the same message.
    with pytest.raises(OhlcvError) as caught:
        create_tables(load_settings({**environment, **change}))
    assert str(caught.value) == found


def test_keys_can_come_from_the_variables_of_the_aws_sdk(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, aws_name in (("ACCESS_KEY", "ACCESS_KEY_ID"), ("SECRET_KEY", "SECRET_ACCESS_KEY")):
        monkeypatch.setenv(f"AWS_{aws_name}", environment.pop(f"OHLCV_S3_{name}"))
    create_tables(load_settings(environment))
    assert faults(environment, tmp_path) == {}


def test_the_message_about_an_unreadable_table_names_the_doctor(environment: dict[str, str], tmp_path: Path) -> None:
    create_tables(load_settings(environment))
    found = faults({**environment, "OHLCV_S3_SECRET_KEY": "wrong"}, tmp_path)
    assert found.keys() == {"warehouse", "tables"}
    assert found["tables"].startswith("market_data.gold_crypto_trades cannot be read (")
    assert found["tables"].endswith("): see 'ohlcv doctor'")


def test_a_rest_catalog_with_tables_has_no_fault(nessie: RestCatalog, tmp_path: Path) -> None:
    environment = {"OHLCV_HOME": str(tmp_path), **nessie.new_branch()}
    assert faults(environment, tmp_path) == {
        "tables": "there is no table market_data.gold_crypto_trades: run 'ohlcv tables create'"
    }
    create_tables(load_settings(environment))
    assert faults(environment, tmp_path) == {}


def test_a_warehouse_unknown_to_the_rest_catalog_is_reported(nessie: RestCatalog, tmp_path: Path) -> None:
    environment = {"OHLCV_HOME": str(tmp_path), **nessie.new_branch(), "OHLCV_WAREHOUSE": "unknown"}
    [(name, fault)] = faults(environment, tmp_path).items()
    assert name == "catalog"
    assert "answers with an error (" in fault
    assert fault.endswith("Warehouse 'unknown' is not known): check OHLCV_CATALOG_URI and OHLCV_WAREHOUSE")
