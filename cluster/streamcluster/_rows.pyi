"""What cluster/native/rows.c offers."""

from collections.abc import Callable
from typing import Any

def encoded(
    dirty: dict[Any, Any],
    dates: dict[Any, int],
    encode: Callable[[Any], bytes],
    writes_numbers: bool,
    deleted: object,
    /,
) -> dict[bytes, bytes | None] | None: ...
def note(dates: dict[Any, int], dirty: dict[Any, Any], marker: object, deleted: set[Any], /) -> bool: ...
def columns(
    changes: dict[bytes, bytes | None], /
) -> tuple[list[bytes | None], list[bytes | None], list[int], list[bytes], list[int]] | None: ...
def running_max(times: list[int], first: int, /) -> list[int] | None: ...
