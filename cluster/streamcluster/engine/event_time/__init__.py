"""Event time of one task: watermarks of its partitions, the time of each timed operator, and rows that come due."""
