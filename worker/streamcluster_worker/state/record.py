"""What a store says of itself: whose it is, in which format, and how far each table is. Others may have written it.

It decides which of that is believed; what is not makes the store corrupt, to be set aside and restored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from streamcluster.ids import TaskId
from streamcluster.outside import Unreadable, parse

from .store_errors import CorruptStore

FORMAT_VERSION = 2
FORMAT_KEY = b"format"
_OFFSET_PREFIX = b"next-offset:"
# Of a table whose rows lie in the order of an index: who does not know of that finds no offset, and restores it.
_ORDERED_PREFIX = b"next-offset-in-order:"
# Of a table whose changelog is the topic that it is made of: an offset of another log would be taken for one of this.
_TOPIC_PREFIX = b"next-offset-in-topic:"
_INDEX_PREFIX = b"index:"
# Its texts are names of at most 250 characters.
_FORMAT_BYTES_MAX = 16 * 1024
_VERSION_MAX = 2**31
_OFFSET_DIGITS_MAX = 19


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Whose state a database holds; written into it when it is made, compared whenever it is opened."""

    app_id: str
    cluster_id: str
    task: str
    format_version: Annotated[int, msgspec.Meta(ge=0, le=_VERSION_MAX)] = FORMAT_VERSION


_identity_decoder = msgspec.json.Decoder(Identity)
NOBODY = Identity(app_id="", cluster_id="", task="")


def identity(app_id: str, cluster_id: str, task: TaskId) -> Identity:
    """The identity of the store of `task` of this app on this Kafka cluster."""
    return Identity(app_id=app_id, cluster_id=cluster_id, task=str(task))


def refuse_another(path: Path, found: Identity, owner: Identity) -> None:
    """Raise CorruptStore unless the store's own record of what it is says `owner`."""
    if found.format_version != FORMAT_VERSION:
        raise CorruptStore(path, f"format {found.format_version}, and this version reads format {FORMAT_VERSION}")
    if found != owner:
        raise CorruptStore(
            path,
            f"it belongs to app {found.app_id!r}, task {found.task} on cluster {found.cluster_id!r}, "
            f"not to app {owner.app_id!r}, task {owner.task} on cluster {owner.cluster_id!r}",
        )


def read_identity(path: Path, data: bytes) -> Identity:
    """A format record. Raises CorruptStore: it is none."""
    try:
        return parse(_identity_decoder.decode, data, _FORMAT_BYTES_MAX)
    except Unreadable as error:
        raise CorruptStore(path, f"its format record is not readable ({error})") from error


def read_offset(path: Path, table: str, data: bytes) -> int:
    """A changelog offset, as we write it: no sign, and no more digits than one has. Raises CorruptStore: it is none."""
    if not (data.isdigit() and len(data) <= _OFFSET_DIGITS_MAX):
        raise CorruptStore(path, f"its changelog offset of table {table!r} is {data[:_OFFSET_DIGITS_MAX]!r}")
    return int(data)


def offset_key(table: str, *, in_order: bool = False, topic: str = "") -> bytes:
    """Where the changelog offset of `table` is, in the default column family.

    in_order: of rows that lie in another order. topic: that the table is made of, if it has no other changelog.
    """
    if topic:
        return _TOPIC_PREFIX + f"{topic}:{table}".encode()
    return (_ORDERED_PREFIX if in_order else _OFFSET_PREFIX) + table.encode()


def is_offset_elsewhere(key: bytes, table: str, topic: str) -> bool:
    """Whether a record of a store says where `table` is in another log than the one that counts. topic: as above."""
    if key.startswith(_TOPIC_PREFIX) and key.endswith(b":" + table.encode()):
        return key != offset_key(table, topic=topic)
    return bool(topic) and key in (offset_key(table), offset_key(table, in_order=True))


def index_key(table: str, name: str) -> bytes:
    """Where the version of an index of `table` is, once the index is whole; in the default column family."""
    return _INDEX_PREFIX + f"{name}:{table}".encode()
