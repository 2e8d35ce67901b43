"""Records in, and results out: the pump's two ports over Kafka."""
