"""Everything that knows Airflow: DAG factories, the backfill command, links and priorities."""
