"""Loading of trade files and generation of sample trades."""
