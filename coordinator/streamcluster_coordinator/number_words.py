"""Numbers as people read them."""

from __future__ import annotations


def count(number: float) -> str:
    """A count as people read it: 950, 12,300, 1.2M."""
    return f"{number / 1_000_000:.1f}M" if number >= 1_000_000 else f"{number:,.0f}"


def seconds(number: float) -> str:
    """A duration as people read it: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if number < 10:
        return f"{number:.1f} s"
    minutes, rest = divmod(round(number), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
