"""Faults that come in with the records: movements whose processing must fail, and such that take long.

They are asked of the generator, so they are movements like all others: acknowledged, counted and judged (values.py).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

from streamcluster.topology.murmur2 import partition_for
from tests.ledger.chaos import Action, Done
from tests.ledger.faults import Fault
from tests.ledger.generator import Wish, account_name
from tests.ledger.values import BAD_ORDER, PARTITIONS

# What the event puts where it cannot be committed (apps.do_bad); an `order` it is in the repartitioned half.
BAD = ("value", "value in place", "row", "key", "sent value", "sent row", "raise", BAD_ORDER.removeprefix("bad "))
# Where it waits: with a record sent, more sent than there is room for, tables written, or in the repartitioned half.
PLACES = ("sent", "written", "flooded", "grouped")
# More than an outbox takes (hosts.SETTINGS), so that some of it is in the transaction before the event is finished.
FLOOD = 6_000


class EventFaults:
    """What can be done with events. wishes: the generator's; accounts: how many there are."""

    def __init__(self, wishes: deque[Wish], accounts: int) -> None:
        self._wishes = wishes
        self._accounts = accounts

    def actions(self) -> Mapping[str, Action]:
        """By kind."""
        return {"bad value": self._bad, "hanging event": self._hang}

    def _bad(self, fault: Fault) -> Done:
        return self._wish(fault, f"bad {BAD[int(fault.pick * len(BAD))]}")

    def _hang(self, fault: Fault) -> Done:
        place = PLACES[int(fault.pick * len(PLACES))]
        flood = f" {FLOOD}" if place == "flooded" else ""
        done = self._wish(fault, f"hang {place} {fault.seconds:g}{flood}")
        # It ends by itself; until then it is felt.
        done.undo = lambda: True
        return done

    def _wish(self, fault: Fault, do: str) -> Done:
        # Not the part of `pick` that has chosen what is done.
        account = int(fault.pick * 9_973) % self._accounts
        self._wishes.append(Wish(do, account))
        name = account_name(account)
        task = f"{PARTITIONS}_{partition_for(name.encode(), PARTITIONS)}"
        text = f"a movement of {name}, task {task}: {do}"
        return Done(fault, time.monotonic(), text, tasks=frozenset({task}))
