"""The small values that everything else is keyed by."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, NamedTuple, NewType

from msgspec import Meta

Slot = NewType("Slot", int)

# Ids as text, as records and messages of others hold them: what decodes as one of these can be parsed. 200 characters
# of a host's name leave room for the rest of a transactional id; numbers of partitions have 32 bits in Kafka.
_HOST = "[A-Za-z0-9._-]{1,200}"
_TASK = r"^[1-9][0-9]{0,9}_(0|[1-9][0-9]{0,9})\Z"
_SLOT = rf"^{_HOST}/(0|[1-9][0-9]{{0,4}})\Z"
HostName = Annotated[str, Meta(pattern=rf"^{_HOST}\Z")]
TaskName = Annotated[str, Meta(pattern=_TASK)]
SlotName = Annotated[str, Meta(pattern=_SLOT)]
# Offsets, counts and sizes: whole numbers that every reader of JSON has exactly, and whose sums have 64 bits. An
# offset that is not known may be negative.
Number = Annotated[int, Meta(ge=-(1 << 53), le=1 << 53)]
Count = Annotated[int, Meta(ge=0, le=1 << 53)]
# The number of a slot on its host.
SlotNumber = Annotated[int, Meta(ge=0, le=99_999)]
_is_task = re.compile(_TASK).match
_is_slot = re.compile(_SLOT).match


# Members of an array in a message: more than an app has tasks, or a page has rows.
MEMBERS_MAX = 100_000
Members = Meta(max_length=MEMBERS_MAX)


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
        if not _is_slot(text):
            raise ValueError(f"{text!r:.300} is not a slot: write HOST/NUMBER, for example a/0")
        host, _, number = text.rpartition("/")
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

    group: Count
    partition: Count

    def __str__(self) -> str:
        return f"{self.group}_{self.partition}"

    @classmethod
    @lru_cache(10_000)
    def parse(cls, text: str) -> TaskId:
        """Read what `str(task_id)` wrote. Raises ValueError."""
        if not _is_task(text):
            raise ValueError(f"{text!r:.300} is not a task: tasks are written like 4_0")
        group, _, partition = text.partition("_")
        return cls(int(group), int(partition))
