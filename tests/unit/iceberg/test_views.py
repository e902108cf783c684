"""The state of the views is read without Spark, and a view over other tables or columns is outdated."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchViewError

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg import views
from ohlcv.iceberg.tables import create_tables, extend, open_catalog
from ohlcv.iceberg.views import view_states
from ohlcv.model.errors import OhlcvError
from ohlcv.model.timeframes import get_timeframe
from support.default_tables import CANDLES_VIEW, LATEST_VIEW, candles_contract
from support.stored_views import store_view, store_views

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")

CURRENT = {CANDLES_VIEW: "current", LATEST_VIEW: "current"}


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    settings = load_settings({"OHLCV_HOME": str(tmp_path / "home")})
    create_tables(settings)
    return settings


def with_timeframes(site: Settings, names: str) -> Settings:
    settings = load_settings({"OHLCV_HOME": str(site.home), "OHLCV_TIMEFRAMES": names})
    create_tables(settings)
    return settings


def test_views_are_missing_until_they_are_stored(site: Settings) -> None:
    assert view_states(site) == {CANDLES_VIEW: "missing", LATEST_VIEW: "missing"}
    store_views(site)
    assert view_states(site) == CURRENT


def test_a_table_with_the_name_of_a_view_is_no_view(site: Settings) -> None:
    store_views(site)
    open_catalog(site).drop_table(("market_data", "gold_ohlcv_coverage"))
    catalog = open_catalog(site)
    with pytest.raises(NoSuchViewError):
        views._stored_query(catalog, ("market_data", "gold_ohlcv_1m"))


def test_views_are_outdated_once_a_table_is_extended(site: Settings) -> None:
    store_views(site)
    extend(site, candles_contract(get_timeframe("1h")))
    assert view_states(site) == {CANDLES_VIEW: "outdated", LATEST_VIEW: "outdated"}


def test_the_view_of_all_candles_is_outdated_once_other_timeframes_are_enabled(site: Settings) -> None:
    store_views(site)
    assert view_states(with_timeframes(site, "1m,15m,1h")) == {CANDLES_VIEW: "outdated", LATEST_VIEW: "current"}


def test_a_view_without_a_query_in_spark_sql_is_outdated(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    store_views(site)
    found = {"versions": [{"version-id": 7, "representations": []}], "current-version-id": 7}
    monkeypatch.setattr(views, "_read_metadata", lambda catalog, view: found)
    assert set(view_states(site).values()) == {"outdated"}


def test_views_are_unknown_where_pyiceberg_cannot_read_them(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_view(self: Catalog, identifier: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(views, "as_sql", lambda catalog: None)
    monkeypatch.setattr(Catalog, "load_view", load_view)
    monkeypatch.setattr("pyiceberg.catalog.sql.SqlCatalog.load_view", load_view)
    assert set(view_states(site).values()) == {"unknown"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "is missing"), (b"{", "cannot be read"), (gzip.compress(b"{}", mtime=0)[:9], "cannot be read")],
    ids=["missing", "not JSON", "truncated"],
)
def test_a_damaged_view_is_named(site: Settings, content: bytes | None, problem: str) -> None:
    path = store_view(site, CANDLES_VIEW, "SELECT 1")
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(OhlcvError, match=f"00001-ohlcv.gz.metadata.json {problem}.*: restore it from a backup"):
        view_states(site)
