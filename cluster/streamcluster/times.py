"""Event time in milliseconds since the epoch, and how rows are ordered by it. A time before anything is known is least.

A place in an index by time is 8 bytes that compare as the times do, also before 1970.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Any

# Nothing is known yet: before every timestamp. And what no time reaches.
NO_TIME = -(1 << 62)
FOREVER = 1 << 62
PLACE_BYTES = 8
# The purpose of a closing that deletes, later, what another one over the same index has given out.
EXPIRES = "expires"
# What users say is no further from 1970, in ms.
MS_MAX = FOREVER - 1
# A place is the time and this, as eight bytes of which the first count most.
ZERO = 1 << 63
PLACE = Struct(">Q")


def place_of(milliseconds: int) -> bytes:
    """Where a row of that time is in an index by time."""
    return (milliseconds + ZERO).to_bytes(PLACE_BYTES, "big")


def time_of(place: bytes) -> int:
    """The time of a place."""
    return int.from_bytes(place[:PLACE_BYTES], "big") - ZERO


@dataclass(frozen=True, slots=True)
class Closing:
    """What is done with rows of a table when they come due by its index: see `topology.units.Due` and `CloseUnit`.

    purpose: tells several with one index apart, in names and positions. span_ms: so much older than its place may the
    newest event of a row be. step_ms, after: see `Due`. skipped: called with the key of a row that the handler has
    failed at for good. of_window: the same handler, called with a key, its window and the value. is_harmless: it is
    ours and calls no user code.
    """

    index: str
    handler: Callable[[Any, Any], Any] | None
    delay_ms: int = 0
    is_inclusive: bool = True
    deletes: bool = True
    purpose: str = ""
    span_ms: int = 0
    step_ms: int | None = None
    skipped: Callable[[Any], None] | None = None
    after: str = ""
    of_window: Callable[[Any, Any, Any], Any] | None = None
    is_harmless: bool = False
