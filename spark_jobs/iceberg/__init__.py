"""Access to Iceberg tables from Spark jobs."""
