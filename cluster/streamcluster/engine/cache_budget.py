"""What tables keep in memory: the decoded entries of a shard in two generations, and one budget over all shards.

A hit is a lookup in `ShardMemory.values` and nothing else, so recency is only known from misses: now and then all
shards age together, which moves their entries to `old`; whoever is used after that comes back over the miss path, and
what is still old is evicted, oldest first. So shards that are used keep more, whatever their number.

It knows no asyncio, no store and no codec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from math import ceil
from typing import Any, Protocol

from .. import dated_rows
from ..tables import IMMUTABLE
from ..times import NO_TIME
from .weigh import VALUE_BYTES, Weight

# A dict slot, the key and the value as Python objects, beside their encodings: 70 to 125 bytes (tracemalloc), and where
# keys are tuples 145 to 175.
ENTRY_OVERHEAD_BYTES = 120
TUPLE_OVERHEAD_BYTES = 180
# Until it is committed, another slot, and its row; beside the encodings, which it is counted by as well.
UNCOMMITTED_BYTES = 100
# For values that can be changed in place: a slot more, and the object that holds the encoding, which is kept to see
# changes by. What depends on the size of these two is counted apart.
OBJECT_OVERHEAD_BYTES = 300 + VALUE_BYTES
# How many are looked into for what the decoded value takes (weigh.py): the oldest and the newest so many.
SAMPLE_OBJECTS = 2
# The encodings of all are counted anew when so many came since, as a part of all: 30 ns for each of them.
RECOUNT_PART = 1 / 4
# Before anything is known of an entry.
ENTRY_BYTES = 100 + TUPLE_OVERHEAD_BYTES
# Fractions of the budget. An eviction goes so far below it: not a few entries at each commit.
SLACK = 1 / 16
# Shards age when so little is old that the next eviction would take what was used a moment ago. On a skewed load 1/16
# hits within 0.02 of an exact LRU, and 6 % of accesses bring an old entry back; 1/4 hits no better and costs 8 %.
OLD_LEAST = 1 / 16
# What operators know of the rows may take so much of it, and no more: knowing saves a look into the store for most
# events, and the rows themselves are what they ask for.
NOTED_MOST = 1 / 4
# They age for the first time here, so that what is in use has come back when the budget is reached.
FIRST_AGE = 7 / 8


class Noted(Protocol):
    """What an operator knows of the rows of a shard, beside them."""

    def held_bytes(self) -> int:
        """What that takes."""
        ...

    def shrink(self, part: float) -> None:
        """Keep so much of it."""
        ...

    def settle(self) -> None:
        """The events that it comes from are finished: write what is to be written."""
        ...


def _nothing() -> Iterable[Noted]:
    return ()


class ShardMemory:
    """The entries of one shard that are in memory. Each is in one of values, objects and old.

    A blind write may leave its former value in `old`; the other two count. `values` and `objects` are the same dicts
    for ever: others may keep them.

    Args:
        pinned: the keys that are not committed; they are in values or objects (or deleted), and stay there.
        noted: what operators know of the rows.
    """

    __slots__ = (
        "_new_bytes",
        "_new_count",
        "_object_bytes",
        "_pinned",
        "_uncounted",
        "_value_bytes",
        "_weight",
        "absent",
        "baseline",
        "dates",
        "lacks_upto",
        "newest",
        "noted",
        "objects",
        "old",
        "values",
    )

    def __init__(self, pinned: Callable[[], Iterable[Any]], noted: Callable[[], Iterable[Noted]] = _nothing) -> None:
        self._pinned = pinned
        self.noted = noted
        # Immutable values by key; the hot path reads this and nothing else.
        self.values: dict[Any, Any] = {}
        # Values that can be changed in place, and the encoding that each (old ones too) was last known by.
        self.objects: dict[Any, Any] = {}
        self.baseline: dict[Any, bytes | None] = {}
        # Entries of both kinds that were not used since the shards aged, in the order in which they are evicted.
        self.old: dict[Any, Any] = {}
        # Keys that had nothing when they were looked up. What is in one of the others is not looked for here, so a
        # key that was written since does no harm as long as it is young.
        self.absent: set[Any] = set()
        # Of a dated table: the date of each entry that is here, as of the last load or cut.
        self.dates: dict[Any, int] = {}
        # Of a table with an index by time, the largest place that there is, as far as it was asked for; and behind
        # which place all rows are here, since none was evicted.
        self.newest = self.lacks_upto = NO_TIME
        # The average entry of each kind, and those that came since it was computed.
        self._value_bytes = self._object_bytes = float(ENTRY_BYTES)
        self._new_bytes = 0
        self._new_count = 0
        # Those that came since the encodings of objects were counted, and what an object takes beside its encoding.
        self._uncounted = 0
        self._weight = Weight()

    def recall(self, key: Any) -> Any:
        """An old entry is used: it is young again. KeyError when there is none."""
        value = self.old.pop(key)
        if type(value) in IMMUTABLE:
            self.values[key] = value
        else:
            self.objects[key] = value
        return value

    def is_new_in_order(self, place: int) -> bool:
        """No row at that place of the index by time has a key that is not in `values`, as far as is known at once."""
        return self.lacks_upto < place <= self.newest and not self.old and not self.objects

    def forget(self, key: Any) -> None:
        """Drop the entry, if it is there."""
        self.values.pop(key, None)
        if self.old:
            self.old.pop(key, None)
        if self.objects:
            self.objects.pop(key, None)
        if self.baseline:
            self.baseline.pop(key, None)
        if self.dates:
            self.dates.pop(key, None)

    def forget_all(self, keys: Iterable[Any]) -> None:
        """Drop these entries, as far as they are there."""
        for entries in (self.values, self.old, self.objects, self.baseline, self.dates):
            if entries:
                dated_rows.forget(entries, keys)

    def clear(self) -> None:
        """Drop everything."""
        for entries in (self.values, self.objects, self.baseline, self.old, self.dates):
            entries.clear()
        self.absent.clear()
        self.lacks_upto = self.newest

    # Its size

    def came(self, encoded_bytes: int, count: int) -> None:
        """So many entries with so many bytes of keys and values (encoded) were read or written."""
        self._new_bytes += encoded_bytes
        self._new_count += count

    def held_count(self) -> int:
        """Entries in memory."""
        return len(self.values) + len(self.objects) + len(self.old)

    def entry_bytes(self) -> float:
        """What an entry takes, on average: an estimate from the encodings, and from a sample of decoded values."""
        held = self.held_count()
        if self._new_count:
            self._look(held)
        objects = max(len(self.baseline), len(self.objects))
        if not objects:
            return self._value_bytes
        held = max(held, objects)
        return (self._object_bytes * objects + self._value_bytes * (held - objects)) / held

    def _look(self, held: int) -> None:
        """Take what came into account."""
        count, size = self._new_count, self._new_bytes
        self._new_bytes = self._new_count = 0
        if not self.baseline:
            kept = max(0, held - count)
            is_tuple = type(next(reversed(self.values), None)) is tuple
            overhead = TUPLE_OVERHEAD_BYTES if is_tuple else ENTRY_OVERHEAD_BYTES
            self._value_bytes = (self._value_bytes * kept + size + count * overhead) / (kept + count)
            return
        self._uncounted += count
        if self._weight.is_due(size):
            self._weight.sample(self._sample())
        elif self._uncounted < RECOUNT_PART * len(self.baseline):
            return
        self._uncounted = 0
        # All, and not those that came: entries that grow in place are written more often than they are.
        encoded = sum(map(len, filter(None, self.baseline.values()))) / len(self.baseline)
        self._object_bytes = encoded * (1 + self._weight.factor) + OBJECT_OVERHEAD_BYTES

    def _sample(self) -> Iterator[tuple[Any, int]]:
        """The oldest and the newest objects, with the size of their encodings."""
        for key in (*islice(self.baseline, SAMPLE_OBJECTS), *islice(reversed(self.baseline), SAMPLE_OBJECTS)):
            value = self.objects[key] if key in self.objects else self.old.get(key)
            yield value, len(self.baseline[key] or b"")

    def held_bytes(self) -> float:
        """What all entries take."""
        return self.entry_bytes() * self.held_count()

    # What the budget calls

    def age(self) -> None:
        """Make every entry old, behind those that are old already, but those that are not committed."""
        old = self.old
        old.update(self.values)
        old.update(self.objects)
        self.values.clear()
        self.objects.clear()
        self.absent.clear()
        for key in self._pinned():
            if key in old:
                self.recall(key)

    def evict(self, count: int) -> None:
        """Forget the first `count` of the old entries."""
        old = self.old
        if count >= len(old):
            keys = list(old)
            old.clear()
        else:
            keys = list(islice(old, count))
            for key in keys:
                del old[key]
        if keys:
            self.lacks_upto = self.newest
        if self.baseline:
            for key in keys:
                if key not in self.objects:
                    self.baseline.pop(key, None)
        if self.dates:
            for key in keys:
                if key not in self.values and key not in self.objects:
                    self.dates.pop(key, None)


class CacheBudget:
    """One bound for all shards of a worker. Between two calls they may grow: by what is read and written meanwhile.

    Args:
        bytes_max: what the shards may hold together. It may be changed before each call.
    """

    __slots__ = ("bytes_max", "entry_bytes_max", "held_bytes")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        # As of the last call: what they hold, and the average entry of the shard that has the largest.
        self.held_bytes = 0
        self.entry_bytes_max = 0

    def trim(self, shards: Sequence[ShardMemory]) -> None:
        """Evict what was not used for longest, over all shards, until they are within the budget."""
        sizes = [shard.entry_bytes() for shard in shards]
        held = sum(size * shard.held_count() for size, shard in zip(sizes, shards, strict=True))
        held += _trim_noted([one for shard in shards for one in shard.noted()], self.bytes_max * NOTED_MOST)
        evicted = self._trim(shards, sizes, held - self.bytes_max)
        self.held_bytes = int(held - evicted)
        self.entry_bytes_max = int(max(sizes, default=0))

    def _trim(self, shards: Sequence[ShardMemory], sizes: Sequence[float], excess: float) -> float:
        """Evict so many bytes, and some more; how many were evicted."""
        if excess <= 0:
            if excess > (FIRST_AGE - 1) * self.bytes_max and not any(shard.old for shard in shards):
                _age(shards)
            return 0.0
        evicted = _evict(shards, sizes, excess + self.bytes_max * SLACK)
        if _old_bytes(shards, sizes) < self.bytes_max * OLD_LEAST:
            _age(shards)
        if excess > evicted:
            evicted += _evict(shards, sizes, excess - evicted)
        return evicted


def _trim_noted(noted: Sequence[Noted], most: float) -> int:
    """Have no more than `most` bytes of it kept; how many are."""
    held = sum([one.held_bytes() for one in noted])
    if held <= most:
        return held
    for one in noted:
        one.shrink(most / held)
    return sum([one.held_bytes() for one in noted])


def _old_bytes(shards: Sequence[ShardMemory], sizes: Sequence[float]) -> float:
    return sum(size * len(shard.old) for size, shard in zip(sizes, shards, strict=True))


def _age(shards: Sequence[ShardMemory]) -> None:
    for shard in shards:
        shard.age()


def _evict(shards: Sequence[ShardMemory], sizes: Sequence[float], wanted: float) -> float:
    """Evict so many bytes if so many are old; how many were. All shards age together: the same part of each."""
    old = _old_bytes(shards, sizes)
    part = min(1.0, wanted / old) if old else 0.0
    for shard in shards:
        shard.evict(ceil(len(shard.old) * part))
    return old - _old_bytes(shards, sizes)
