"""What cluster/native/loop.c offers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from streamcluster.current import Cursor, Run
from streamcluster.loops import Iterated

class Values(AsyncIterator[Any]):
    def __new__(cls, next_run: Callable[[], Awaitable[Run | None]], cursor: Iterated, /) -> Values: ...
    def __anext__(self) -> Awaitable[Any]: ...
    def aclose(self) -> Awaitable[None]: ...

class Gathered(AsyncIterator[Any]):
    def __new__(
        cls,
        values: AsyncIterator[Any],
        cursor: Cursor,
        encode: Callable[[Any], bytes | None],
        event_type: type,
        bytes_max: int,
        /,
    ) -> Gathered: ...
    def __anext__(self) -> Awaitable[Any]: ...
    def aclose(self) -> Awaitable[None]: ...
    def keep(
        self,
        run: Run,
        values: list[Any],
        left: Callable[[], int],
        times: list[int],
        first: int,
        keys: list[bytes | None],
        encoded: list[bytes | None],
        timestamps: list[int],
        look_at: int,
        sure: int,
        /,
    ) -> None: ...
