"""What worker/native/native.c offers."""

from streamcluster.batch import RecordHeaders
from streamcluster.output import Pairs

_Columns = tuple[str, int, bytes, bytes, list[bytes | None], list[bytes | None], list[RecordHeaders] | None]

def load(client: str, plugin: str, /) -> str: ...
def is_known(producer: object, /) -> bool: ...
def missed(producer: object, /) -> tuple[int, str, int] | None: ...
def can_take(consumer: object, /) -> bool: ...
def take(consumer: object, count: int, milliseconds: int, /) -> list[_Columns | tuple[str, int, int, int, str]]: ...
def produce(
    producer: object,
    topic: str,
    keys: list[bytes | None],
    values: list[bytes | None],
    timestamps: list[int] | None,
    partitions: list[int] | None,
    headers: list[Pairs | None] | None,
    partition: int,
    start: int,
    end: int,
    /,
) -> tuple[int, int]: ...
def measure(column: list[bytes | None], /) -> int: ...
