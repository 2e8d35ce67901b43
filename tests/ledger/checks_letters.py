"""The checks of what must be refused, and of what one event sends very much of. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.ledger.folds import movements_of, posted_of
from tests.ledger.values import Log, Observed

NAMED_MAX = 5
# Agent, topic, partition, offset, and the movement's id.
Refused = tuple[str, str, int, int, int]


def dead_letters(observed: Observed) -> Iterator[str]:
    """11. Each movement that must fail has one dead letter that says where it is, and no other has any."""
    right = Counter(_refused(observed))
    found = Counter((one.agent, one.topic, one.partition, one.offset, one.id) for one in observed.letters)
    if lost := sorted((right - found).elements()):
        yield f"{len(lost)} of {right.total()} movements that must fail have no dead letter: {lost[:NAMED_MAX]}"
    errors = {one.id: one.error for one in observed.letters}
    for extra in sorted((found - right).elements())[:NAMED_MAX]:
        what = "is there again" if extra in right else "is of a movement that must not fail there"
        yield f"the dead letter {extra} {what}; its error is {errors[extra[-1]]!r}"


def _refused(observed: Observed) -> Iterator[Refused]:
    for partition, log in sorted(observed.inputs.items()):
        for offset, movement in zip(log.offsets, movements_of(log), strict=True):
            if movement.is_bad:
                yield "post", "in", partition, offset, movement.id
    for partition, log in sorted(observed.grouped.items()):
        passed: set[int] = set()
        for offset, movement in zip(log.offsets, movements_of(log), strict=True):
            # One whose order has passed already is not stored, so nothing of it can fail.
            if movement.is_bad_order and movement.order not in passed:
                yield "take_first", "grouped", partition, offset, movement.id
            elif not movement.is_bad_order:
                passed.add(movement.order)


def flood_is_whole(observed: Observed, *, too_few: bool) -> Iterator[str]:
    """Each movement that sends very much has sent all of it, once: what is missing, or what is too much."""
    for partition in sorted({*observed.inputs, *observed.outputs["flood"]}):
        sent = movements_of(observed.inputs.get(partition, Log()))
        right = Counter((movement.id, number) for movement in sent for number in range(movement.flood))
        log = observed.outputs["flood"].get(partition, Log())
        found = Counter((posted.id, posted.count) for posted in posted_of(log))
        if wrong := right - found if too_few else found - right:
            what = "are lost" if too_few else "are too many"
            yield f"flood[{partition}]: {wrong.total()} records {what}, for example {sorted(wrong)[:NAMED_MAX]}"
