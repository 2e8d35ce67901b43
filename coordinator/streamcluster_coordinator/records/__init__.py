"""What stands in the app's own topics and answers, as values: pure."""
