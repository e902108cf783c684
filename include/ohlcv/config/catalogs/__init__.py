"""Catalog of the tables: one description, from the settings or pyiceberg's configuration, for both clients."""
