"""Joins of two streams by key and time.

`bounds`: what users give; `joining`: which rows wait, and what an event makes of them, without a stream; `rows`: those
that memory knows; `loops`: the `async for` over it, which is in C where the rows are the usual ones.
"""
