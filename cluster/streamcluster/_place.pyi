"""What cluster/native/place.c offers."""

from collections.abc import Callable, Iterator
from typing import Any

from streamcluster.current import Cursor, Kept
from streamcluster.windows.ports import Shard, Time

class Place:
    def set(
        self,
        writes_text: bool,
        writes_numbers: bool,
        iterator: Iterator[Any],
        values: list[Any],
        first: int,
        kept: Kept,
        times: list[int],
        marks: list[int],
        time: Time,
        shard: Shard,
        shard_values: dict[Any, Any],
        latest: list[int],
        deleted: set[Any],
        tail: bytes,
        span: tuple[int, int],
        until: int,
        nothing: Any,
        /,
    ) -> None: ...
    def forget(self) -> None: ...

def attach(table: type, windows: type, get_cursor: Callable[[], Cursor | None], /) -> None: ...
