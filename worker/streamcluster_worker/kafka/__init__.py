"""What only a worker does with Kafka's client: producers that C may feed, and purging."""
