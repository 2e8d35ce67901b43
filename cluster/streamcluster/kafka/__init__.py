"""The one layer over Kafka's client, for worker and coordinator: nothing else here may import it, or the client."""
