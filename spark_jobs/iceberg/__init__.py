"""Iceberg tables as Spark jobs read and write them."""
