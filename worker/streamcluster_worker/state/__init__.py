"""The tasks' stores in RocksDB, and how changelogs fill them."""
