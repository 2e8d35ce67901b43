"""How much memory decoded values take, measured on a few of them: `sys.getsizeof` knows only the outermost object.

A sample of values gives bytes in memory per encoded byte, and that times the encoded size, which is known of all, is
the estimate. It is measured again as more of them come, at a cost of a few percent of having decoded them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from sys import getsizeof
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from ..batch import Batch

# Of each level of a value (its items, their items ...) so many objects are looked at, evenly spread, and count for all:
# 0.2 ms a level, however large it is and whatever it refers to.
LEVEL_OBJECTS_MAX = 200
LEVELS_MAX = 12
# Multiples of the golden ratio are spread evenly and fall in with no pattern of keys and values.
_SPREAD = 0.6180339887498949
# So many encoded bytes come before the next sample, at first and later. Decoding 4 MiB takes 15 ms at least.
SAMPLE_BYTES_FIRST = 64 * 1024
SAMPLE_BYTES_MAX = 4 * 1024 * 1024
# Before the first sample: records of a few short fields in JSON as dicts.
FACTOR_FIRST = 8.0
# Of each value, so much does not depend on its size: an empty list or dictionary, and what it keeps free to grow.
VALUE_BYTES = 100
# A sample that is lower counts for so much of the next estimate; a higher one counts at once.
DECAY = 0.25
# A record beside its bytes: the client's message, two bytes objects, the topic's name, slots in lists (measured with
# tracemalloc: 390 bytes). Taken in C it has no message, and needs about 110.
RECORD_OVERHEAD_BYTES = 400
# Of so many records of a batch, evenly spread, keys and values are looked at.
SIZE_SAMPLE = 8
# Shared by everything, and large.
_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)


def deep_size(value: Any) -> int:
    """Bytes of `value` and all that it refers to, but for classes and functions; an estimate where that is much."""
    total = 0.0
    scale = 1.0
    seen: set[int] = set()
    level = [value]
    for _ in range(LEVELS_MAX):
        if len(level) > LEVEL_OBJECTS_MAX:
            scale *= len(level) / LEVEL_OBJECTS_MAX
            level = [level[int(number * _SPREAD % 1.0 * len(level))] for number in range(LEVEL_OBJECTS_MAX)]
        fresh = {key: one for one in level if (key := id(one)) not in seen and not isinstance(one, _SHARED)}
        if not fresh:
            break
        seen.update(fresh)
        objects = list(fresh.values())
        total += scale * sum(map(getsizeof, objects))
        level = _referents(objects)
    return int(total)


def _referents(objects: list[Any]) -> list[Any]:
    found = gc.get_referents(*objects)
    for one in objects:
        # A Struct that the collector does not track (gc=False) hides its fields from it.
        fields = getattr(type(one), "__struct_fields__", None)
        if fields is not None and not gc.is_tracked(one):
            found += [getattr(one, name, None) for name in fields]
    return found


class Weight:
    """Bytes in memory per encoded byte, beside VALUE_BYTES, of the values of one topic, or of one table's shard."""

    __slots__ = ("_due", "_pause", "factor", "is_known")

    def __init__(self) -> None:
        self.factor = FACTOR_FIRST
        self.is_known = False
        # Encoded bytes that have to come before the next sample.
        self._due = 0
        self._pause = SAMPLE_BYTES_FIRST

    def is_due(self, encoded_bytes: int) -> bool:
        """So many more have come: whether it is time for a sample."""
        self._due -= encoded_bytes
        return self._due <= 0

    def sample(self, pairs: Iterable[tuple[Any, int]]) -> None:
        """Look at some values, each with its encoded size."""
        size = encoded = 0
        for value, encoded_bytes in pairs:
            encoded += encoded_bytes
            try:
                size += max(0, deep_size(value) - VALUE_BYTES)
            except Exception:  # noqa: BLE001 (`__sizeof__` and attributes are user code; a guess is no failure)
                size += int(encoded_bytes * FACTOR_FIRST)
        if not encoded:
            return
        factor = size / encoded
        if not self.is_known or factor > self.factor:
            self.factor = factor
        else:
            self.factor += (factor - self.factor) * DECAY
        self.is_known = True
        self._due = self._pause
        self._pause = min(SAMPLE_BYTES_MAX, 2 * self._pause)


class RecordWeight:
    """What the records of one topic take while they wait: the client's message, and each decoding of its value."""

    __slots__ = ("_copies", "_weight", "is_due")

    def __init__(self) -> None:
        self._weight = Weight()
        # How often each record's value is decoded and kept: by declaration, and by agent where they share nothing.
        self._copies = 1
        # It is time for a look.
        self.is_due = False

    def of(self, encoded_bytes: int, records: int) -> int:
        """What so many records with so many bytes of keys and values take."""
        self.is_due = self._weight.is_due(encoded_bytes)
        decoded = self._copies * (encoded_bytes * self._weight.factor + records * VALUE_BYTES)
        return encoded_bytes + int(decoded) + records * RECORD_OVERHEAD_BYTES

    def look(self, decoded: Sequence[tuple[Batch, list[Any], Any]], copies: int) -> None:
        """These have been decoded, once for each of so many copies that are kept: look into one of them."""
        self.is_due = False
        self._copies = max(1, copies)
        for batch, values, _ in decoded:
            middle = len(values) // 2
            if values and (data := batch.values[middle]):
                self._weight.sample([(values[middle], len(data))])


def size_of(batch: Batch) -> int:
    """Bytes of keys and values: an estimate from a sample. To look at each would cost 20 ns an event."""
    step = len(batch) // SIZE_SAMPLE + 1
    sample = [*batch.values[::step], *batch.keys[::step]]
    size = sum([len(data) for data in sample if data])
    return size * len(batch) // (len(sample) // 2)
