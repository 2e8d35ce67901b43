"""The native path: columns of records go to librdkafka and come from it in C (worker/native/native.c), if it was built.

It decides whether that can be, and says why not. A client is of confluent-kafka either way; one that was made with the
plugin is known to the module in C, and any other gives and gets its records in Python.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, Producer, cimpl

from streamcluster.batch import RecordHeaders
from streamcluster.output import OutputColumns
from streamcluster.settings import Settings

try:
    from .._native import __file__ as _FILE
    from .._native import can_take, is_known, load, measure, missed, produce
    from .._native import take as _take
except ModuleNotFoundError:
    _NOT_THERE = "there was no C compiler, or no Python.h, when streamcluster was installed (docs/native.md)"
except ImportError as error:
    _NOT_THERE = f"the module in C does not load: {error}"
else:
    _NOT_THERE = ""

_PLUGINS = "plugin.library.paths"
_log = logging.getLogger("streamcluster.kafka")
# Topic, partition, offsets and timestamps as 64-bit numbers, keys, values, headers.
Columns = tuple[str, int, bytes, bytes, list[bytes | None], list[bytes | None], list[RecordHeaders] | None]
# Topic, partition, offset, error code, what librdkafka says of it.
Refused = tuple[str, int, int, int, str]


class NotTaken(NamedTuple):
    """The first record of a list that librdkafka did not take. at: how many it took before."""

    at: int
    error: KafkaError


class Missed(NamedTuple):
    """A record that was taken and not delivered."""

    error: KafkaError
    topic: str
    partition: int


@cache
def _why_never() -> str:
    """Why no producer of this process can be used in C; empty: they can."""
    if _NOT_THERE:
        return _NOT_THERE
    try:
        load(cimpl.__file__, _plugin())
    except OSError as error:
        return str(error)
    return ""


def _plugin() -> str:
    return os.path.abspath(_FILE)


def why_not_native(settings: Settings) -> str:
    """Why records go to librdkafka and come from it in Python; empty: they do in C."""
    return _why_never() if settings.native else "the setting native is off"


def with_plugin(settings: Settings, config: Mapping[str, object]) -> dict[str, object]:
    """The configuration of a client that is known to the module in C, where there is one; else as it is."""
    if why_not_native(settings):
        return dict(config)
    # The operator's own come first: it is their order that may matter to them.
    return {**config, _PLUGINS: ";".join([*filter(None, [str(config.get(_PLUGINS, ""))]), _plugin()])}


def why_not_for(settings: Settings, producer: Producer) -> str:
    """Why `give` and `take_missed` cannot be called for a producer; empty: they can."""
    if reason := why_not_native(settings):
        return reason
    if not is_known(producer):
        reason = "the client did not say that a producer was made"
        _log.warning("Records go to the client from Python: %s", reason)
    return reason


def give(
    producer: Producer, topic: str, columns: OutputColumns, partition: int, start: int, end: int
) -> NotTaken | None:
    """Give those records from `start` to `end` to librdkafka, in order. partition: of those that name none."""
    keys, values, timestamps = columns.keys, columns.values, columns.timestamps
    taken, code = produce(
        *(producer, topic, keys, values, timestamps, columns.partitions, columns.headers, partition, start, end)
    )
    if code == 0:
        return None
    # In the client's own words.
    return NotTaken(taken, KafkaError(code, f"Unable to produce message: {KafkaError(code).str()}"))


def size_of(column: list[bytes | None], *, native: bool) -> int:
    """How many bytes these keys or values are."""
    return measure(column) if native else sum(map(len, filter(None, column)))


def is_taken_natively(consumer: Consumer) -> bool:
    """Whether `take_natively` can be called for a consumer; False of one that was made without the plugin."""
    return not _NOT_THERE and can_take(consumer)


def take_natively(consumer: Consumer, count: int, seconds: float) -> list[Columns | Refused]:
    """At most `count` records, as columns, and what came in place of records, in order."""
    return _take(consumer, count, int(seconds * 1000))


def take_missed(producer: Producer) -> Missed | None:
    """The first record since the last call that was not delivered; of a producer without transactions."""
    found = missed(producer)
    if found is None:
        return None
    code, topic, partition = found
    return Missed(KafkaError(code), topic, partition)
