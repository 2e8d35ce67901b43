"""What cluster/native/close.c offers."""

from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any

class Closed(Awaitable[None]):
    def __new__(
        cls,
        handle: Callable[[Any, Any, Any], Any],
        rows: list[bytes],
        iterator: Iterator[Any],
        reads_text: bool,
        decode: Callable[[bytes], Any],
        window_of: Callable[[int, int], Any],
        wait_for: Callable[[Any], Awaitable[Any] | None],
        view: Any,
        awake: type | None,
        columns: tuple[
            dict[Any, Any],
            dict[Any, Any],
            dict[Any, int],
            dict[Any, Any],
            dict[Any, bytes | None],
            dict[Any, bytes | None],
            set[Any],
        ],
        gone: Any,
        /,
    ) -> Closed: ...
    def __await__(self) -> Generator[Any]: ...

def all_end_in(row_keys: list[bytes], tail: bytes, /) -> bool: ...
