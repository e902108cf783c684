"""Row filters of pyiceberg for partitions of the trades table."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.expressions.parser import parse
from pyiceberg.expressions.visitors import expression_evaluator
from pyiceberg.schema import Schema
from pyiceberg.typedef import Record
from pyiceberg.types import DateType, IntegerType, NestedField

from ohlcv.iceberg.tables import hours_filter

SCHEMA = Schema(NestedField(1, "exchange_date", DateType()), NestedField(2, "exchange_hour", IntegerType()))
FIRST_DAY = (date(2026, 2, 27) - date(1970, 1, 1)) // timedelta(days=1)
HOURS = range(FIRST_DAY * 24, (FIRST_DAY + 4) * 24)


@settings(deadline=None)
@given(hours=st.sets(st.sampled_from(HOURS)))
def test_pyiceberg_selects_exactly_the_given_hours(hours: set[int]) -> None:
    matches = expression_evaluator(SCHEMA, parse(hours_filter(hours)), case_sensitive=True)
    assert {hour for hour in HOURS if matches(Record(hour // 24, hour % 24))} == hours
