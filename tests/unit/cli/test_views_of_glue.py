"""`ohlcv tables create` on a catalog without views."""

from __future__ import annotations

import pytest

from ohlcv.cli.main import main
from ohlcv.iceberg import tables
from ohlcv.iceberg.tables import CreatedTables


def test_no_view_is_created_where_iceberg_has_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OHLCV_CATALOG", "lake")
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__TYPE", "glue")
    monkeypatch.setattr(tables, "create_tables", lambda _: CreatedTables(["market_data.gold_ohlcv_1m"], []))
    with pytest.raises(SystemExit) as exit_info:
        main(["tables", "create"])
    output, errors = capsys.readouterr()
    assert exit_info.value.code == 0
    assert output == "created  market_data.gold_ohlcv_1m\n"
    assert errors == "note: the catalog AWS Glue has no views in Iceberg: query the tables themselves\n"
