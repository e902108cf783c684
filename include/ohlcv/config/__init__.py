"""Settings from environment variables, and the catalog properties derived from them."""
