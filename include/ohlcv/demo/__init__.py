"""The demo: a local Spark cluster, Airflow and a feed of sample trades."""
