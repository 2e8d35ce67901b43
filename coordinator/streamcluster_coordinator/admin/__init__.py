"""What is asked of brokers, and done there, beside the data."""
