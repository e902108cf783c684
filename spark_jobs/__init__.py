"""The jobs that run on Spark: the only code that imports pyspark."""
