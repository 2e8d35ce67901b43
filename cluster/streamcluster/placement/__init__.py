"""Which slot gets which task: pure."""
