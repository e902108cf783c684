"""Pipeline health checks, metrics and diagnostics."""
