"""The worker's way to Kafka's client: settings, clients, what errors mean, where logs begin and end."""
