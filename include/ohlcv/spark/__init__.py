"""Spark installation, local clusters and job submission."""
