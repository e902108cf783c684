"""One module per Spark job."""
