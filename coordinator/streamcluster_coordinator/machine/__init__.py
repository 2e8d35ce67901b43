"""What the coordinator decides, as functions of its state and an event: pure."""
