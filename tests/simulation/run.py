"""One seed from its beginning to rest, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from .faults import hurt, settle
from .kafka import Unsafe
from .world import World

HURT_SECONDS = 18.0
SETTLE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """failure: what is wrong, None: nothing. digest: of all that happened."""

    seed: int
    failure: str | None
    digest: str
    commits: int
    epochs: int
    terms: int


def run(seed: int, lines: list[str] | None = None) -> Outcome:
    """Run a seed. lines: gets everything that happens, when it is given."""
    world = World(seed, tracing=lines is not None)
    failure: str | None = None
    try:
        hurt(world, HURT_SECONDS)
        reason = settle(world, SETTLE_SECONDS)
        if reason is not None:
            failure = f"does not come to rest: {reason}"
    except Unsafe as error:
        failure = f"unsafe: {error}"
    if lines is not None:
        lines += world.lines
    log = world.brokers.control
    return Outcome(
        seed=seed,
        failure=failure,
        digest=world.digest.hexdigest()[:16],
        commits=sum(world.brokers.committed.values()),
        epochs=log[-1].epoch if log else 0,
        terms=log[-1].term if log else 0,
    )
