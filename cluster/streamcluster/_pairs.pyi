"""What cluster/native/pairs.c offers."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from streamcluster.batch import Column
from streamcluster.ids import TP
from streamcluster.live_shards import LiveTime
from streamcluster.stream_joins.rows import Bucket

Pair = tuple[Any, Any]

class Pairs(Iterator[Pair]):
    def __new__(
        cls,
        columns: tuple[
            Iterator[Any],
            Column[bytes | None],
            Column[int],
            Column[int],
            Column[bytes | None],
            Column[int],
        ],
        known: tuple[dict[int, Bucket], dict[int, Bucket], dict[int, Bucket], array[int]],
        numbers: tuple[bool, bool, int, int, int, int, int, int],
        calls: tuple[
            LiveTime,
            TP,
            Callable[[int], None],
            Callable[[int, Any], Sequence[tuple[int, Pair]]],
            Callable[[bytes], Any],
        ],
        /,
    ) -> Pairs: ...
    def __next__(self) -> Pair: ...

def written(
    side: bytes,
    bucket: Bucket,
    bound: int,
    values: dict[Any, Any],
    dirty: dict[Any, Any],
    deleted: set[Any],
    /,
) -> None: ...
def places(row_keys: list[bytes], left_ms: int, right_ms: int, /) -> list[bytes | None]: ...
