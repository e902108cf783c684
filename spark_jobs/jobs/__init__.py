"""Spark jobs, one module each."""
