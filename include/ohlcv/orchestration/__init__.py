"""Airflow tasks, callbacks, notifications and commands."""
