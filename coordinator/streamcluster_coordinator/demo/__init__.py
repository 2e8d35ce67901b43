"""`streamcluster demo`: 336,776 real flights through a real Kafka and a real cluster of worker processes."""
