"""Grouping: what `stream.group_by` was given, as an operator."""

from __future__ import annotations

from typing import Any

from .checks import check_count
from .errors import AppError
from .models import field_getter, field_name, field_owner, field_type, without_none
from .operators import GroupBy
from .topics import Topic, topic_of


def grouping_on(what: str, key: Any, partner: str) -> GroupBy:
    """What `on=` of a join says. partner: what is joined, by which the repartition topic of a lambda is named."""
    if field_getter(key) is None and not callable(key):
        raise AppError(
            f"{what}: on={key!r}: give a field of the record (Order.account_id) or a function of the value, for this "
            "stream; the keys of the other side are what it is compared with."
        )
    is_nameless = getattr(key, "__name__", "<lambda>") == "<lambda>"
    return grouping(key, f"on-{partner}" if is_nameless and field_getter(key) is None else None, None, None)


def grouping(key: Any, name: str | None, topic: Topic | None, partitions: int | None) -> GroupBy:
    """See `Stream.group_by`."""
    check_count("stream.group_by(): partitions", partitions)
    topic = None if topic is None else topic_of("stream.group_by(topic=...)", topic)
    getter = field_getter(key)
    if getter is not None:
        label = name or f"{field_owner(key)}.{field_name(key)}"
        key_type = without_none(field_type(key))
        key_type = key_type if key_type in (str, bytes, int) else None
        return GroupBy(label, getter, key_type, partitions, topic, is_field=True)
    if not callable(key):
        raise AppError(f"group_by({key!r}): give a field of the record (Order.account_id) or a function of the value.")
    label = name or str(getattr(key, "__name__", ""))
    if not label or label == "<lambda>":
        raise AppError("group_by(<lambda>): a lambda has no name, and the repartition topic needs one: add name='...'.")
    return GroupBy(label, key, None, partitions, topic)
