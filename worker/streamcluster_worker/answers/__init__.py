"""What the worker tells of itself: reports and rows of its tables."""
