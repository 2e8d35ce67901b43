"""The schedule of faults: which, when, for how long, from a seed. Pure: the same seed gives the same schedule.

Kinds are dealt from a shuffled deck, dealt again when it is empty, so that a run that is long enough has all of them.
Which process is hit is decided when the time comes, by the fault's `pick` among those that are there.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Kind -> how many of its cards are in a deck, and the seconds that its effect lasts (one of them is drawn).
WORKER_AND_HOST_FAULTS: Mapping[str, tuple[int, tuple[float, ...]]] = {
    "kill worker": (4, (0.0,)),
    "kill coordinator": (2, (0.0, 0.5)),
    "kill host": (2, (0.0, 3.0)),
    "pause worker": (2, (1.0, 10.0)),
    "pause host": (2, (1.0, 10.0)),
    "roll host": (1, (0.0,)),
    "restart workers": (1, (0.0,)),
    "more workers": (1, (0.0,)),
    "fewer workers": (1, (0.0,)),
}
BROKER_FAULTS: Mapping[str, tuple[int, tuple[float, ...]]] = {
    "kill broker": (2, (0.5, 5.0)),
    "pause broker": (1, (1.0, 8.0)),
    "restart broker": (1, (0.0,)),
    "pause all brokers": (1, (3.0, 12.0, 20.0)),
    "kill all brokers": (1, (1.0, 10.0)),
}
EVENT_AND_STORE_FAULTS: Mapping[str, tuple[int, tuple[float, ...]]] = {
    "bad value": (3, (0.0,)),
    # The longest is more than transaction_timeout, the others are more and less than half of it (hosts.SETTINGS).
    "hanging event": (3, (1.0, 7.0, 14.0)),
    "damaged store": (2, (0.0,)),
    # The longer one is more than a worker waits for a disk (own_tasks.DISK_SECONDS).
    "full disk": (1, (2.0, 20.0)),
}
# Relative to the mean gap: faults overlap at times, and at times all is calm for a while.
GAP_MIN, GAP_MAX = 0.1, 3.0


@dataclass(frozen=True, slots=True)
class Fault:
    """at: seconds from the start of all; pick: 0 <= pick < 1, which of the possible victims; seconds: for so long."""

    at: float
    kind: str
    pick: float
    seconds: float


def schedule(
    seed: int, seconds: float, mean_gap: float, *, with_brokers: bool, kinds: Sequence[str] = ()
) -> list[Fault]:
    """The faults of a run.

    Args:
        seed: decides everything else.
        seconds: no fault begins later, and none lasts longer, unless all brokers are away.
        mean_gap: mean seconds between the beginnings of two faults.
        with_brokers: whether the brokers are ours to be hurt.
        kinds: only these; all when empty.
    """
    source = random.Random(seed)
    offered = {**WORKER_AND_HOST_FAULTS, **EVENT_AND_STORE_FAULTS, **(BROKER_FAULTS if with_brokers else {})}
    deck_of = [kind for kind, (cards, _) in offered.items() for _ in range(cards) if not kinds or kind in kinds]
    if not deck_of:
        raise ValueError(f"none of {list(kinds)} is a fault of this run, which has {list(offered)}")
    found: list[Fault] = []
    deck: list[str] = []
    at = 0.0
    while True:
        at += min(max(source.expovariate(1 / mean_gap), GAP_MIN * mean_gap), GAP_MAX * mean_gap)
        if at >= seconds:
            return found
        if not deck:
            deck = source.sample(deck_of, len(deck_of))
        kind = deck.pop()
        pick, lasting = source.random(), source.choice(offered[kind][1])
        found.append(Fault(round(at, 3), kind, pick, lasting))
