"""The small values that everything else is keyed by."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, NewType

Epoch = NewType("Epoch", int)
Slot = NewType("Slot", int)


class SlotId(NamedTuple):
    """One slot of one host, unique in the cluster, written `a/0`. number: 0 <= number."""

    host: str
    number: int

    def __str__(self) -> str:
        return f"{self.host}/{self.number}"

    @classmethod
    @lru_cache(10_000)
    def parse(cls, text: str) -> SlotId:
        """Read what `str(slot_id)` wrote. Raises ValueError."""
        host, slash, number = text.rpartition("/")
        if not slash or not host or not number.isdecimal():
            raise ValueError(f"{text!r} is not a slot: write HOST/NUMBER, for example a/0")
        return cls(host, int(number))


class TP(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class TaskId(NamedTuple):
    """The unit of work and of ownership.

    group: the partition count that the group's topics share (it names the group);
    partition: 0 <= partition < group.
    """

    group: int
    partition: int

    def __str__(self) -> str:
        return f"{self.group}_{self.partition}"

    @classmethod
    @lru_cache(10_000)
    def parse(cls, text: str) -> TaskId:
        """Read what `str(task_id)` wrote."""
        group, _, partition = text.partition("_")
        return cls(int(group), int(partition))
