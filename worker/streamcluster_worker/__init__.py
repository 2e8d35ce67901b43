"""The worker process: the engine with Kafka and RocksDB around it. Nothing here is for users to import."""
