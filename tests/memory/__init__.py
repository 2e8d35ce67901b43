"""Whether memory is bounded: `python -m tests.memory` takes four minutes, and test_memory.py is its short form."""
