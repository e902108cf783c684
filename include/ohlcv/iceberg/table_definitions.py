"""Schema and partition spec of a new table in the classes of pyiceberg, from its contract."""

from __future__ import annotations

from typing import Any

from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform, IdentityTransform, MonthTransform, Transform
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    TimestamptzType,
)

from ohlcv.model.table_contracts import TableContract

ICEBERG_TYPES: dict[str, IcebergType] = {
    "string": StringType(),
    "long": LongType(),
    "int": IntegerType(),
    "date": DateType(),
    "timestamptz": TimestamptzType(),
    "boolean": BooleanType(),
    "decimal(18, 8)": DecimalType(18, 8),
    "decimal(38, 8)": DecimalType(38, 8),
    "decimal(38, 16)": DecimalType(38, 16),
}
_TRANSFORMS: dict[str, Transform[Any, Any]] = {
    "identity": IdentityTransform(),
    "day": DayTransform(),
    "month": MonthTransform(),
}


def iceberg_schema(contract: TableContract) -> Schema:
    """Return the schema of a new table."""
    # pyiceberg assigns the field ids of a new table. These ids only have to be distinct.
    field_ids = iter(range(1, 100))
    fields = []
    for column in contract.columns:
        field_id = next(field_ids)
        kind: IcebergType
        if column.type.startswith("list<"):
            element = ICEBERG_TYPES[column.type.removeprefix("list<").removesuffix(">")]
            kind = ListType(element_id=next(field_ids), element_type=element, element_required=False)
        elif column.type == "map<string, string>":
            kind = MapType(
                key_id=next(field_ids),
                key_type=StringType(),
                value_id=next(field_ids),
                value_type=StringType(),
                value_required=False,
            )
        else:
            kind = ICEBERG_TYPES[column.type]
        fields.append(NestedField(field_id, column.name, kind, required=False))
    return Schema(*fields)


def iceberg_partitions(contract: TableContract, schema: Schema) -> PartitionSpec:
    """Return the partition spec of a new table."""
    return PartitionSpec(
        *(
            PartitionField(
                source_id=schema.find_field(partition.column).field_id,
                field_id=1000 + index,
                transform=_TRANSFORMS[partition.transform],
                # The names that Spark SQL assigns.
                name=partition.column
                if partition.transform == "identity"
                else f"{partition.column}_{partition.transform}",
            )
            for index, partition in enumerate(contract.partitions)
        )
    )
