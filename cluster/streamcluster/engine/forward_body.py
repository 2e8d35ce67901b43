"""The body of a forwarding unit: the sending half of group_by and through.

It sends raw bytes under a new key, unless operators changed the value.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CoroutineType
from typing import Any

from ..current import Cursor, Run
from ..errors import Skip, UnsendableRecord
from ..headers import headers_size, pairs_of
from ..operators import GroupBy, Processor, apply
from ..output import BY_KEY, OutputColumns
from ..topics import Topic
from ..topology.units import ForwardUnit
from .intake import RunIntake
from .outbox import Outbox

# Of a repartition topic: where the records go whose new key is None, so that one task sees them all.
NO_KEY_PARTITION = 0


async def forward(unit: ForwardUnit, intake: RunIntake, outbox: Outbox) -> None:
    """Send on whatever comes, for ever."""
    group_by, operators = unit.group_by, unit.operators
    as_it_is = group_by.through is None and not any(isinstance(op, Processor) for op in operators)
    in_one_go = as_it_is and not operators and group_by.key is not None
    # Whether a key must be awaited shows only when one was made, so the first events go one by one.
    keys_known = False
    while True:
        run = await intake.next_run()
        if run is None:
            continue
        if keys_known and in_one_go and _forward_run(run, group_by.key, unit.destination, outbox):
            intake.cursor.iterator = iter(())
            continue
        awaited = await _forward_each(unit, run, intake.cursor, outbox, as_it_is=as_it_is)
        in_one_go = in_one_go and not awaited
        keys_known = keys_known or bool(run.values)


async def _forward_each(unit: ForwardUnit, run: Run, cursor: Cursor, outbox: Outbox, *, as_it_is: bool) -> bool:
    """One by one: for operators, awaited keys, and to find the event that fails; True when a key was awaited."""
    awaited = False
    operators, group_by, destination = unit.operators, unit.group_by, unit.destination
    coders = destination.coders
    for index, value in enumerate(cursor.iterator):
        if operators:
            try:
                value = await apply(operators, value, (run, index))
            except Skip:
                continue
        key = _key_of(group_by, run, index, value)
        if type(key) is CoroutineType:
            key = await key
            awaited = True
        part = "value"
        try:
            data = run.batch.values[run.start + index] if as_it_is else coders.encode_value(value)
            part = "key"
            key_data = coders.encode_key(key)
        except Exception as error:
            raise UnsendableRecord(destination.name, part, key, value, error) from error
        headers = run.headers(index)
        size = len(key_data or b"") + len(data or b"") + headers_size(headers or ())
        coders.limits.check_size(destination.name, size)
        partition = _partition_of(key_data, group_by)
        timestamp = coders.carried.of(run.timestamp(index))
        outbox.append(destination.name, (key_data, data, partition, timestamp, headers))
    return awaited


def _key_of(group_by: GroupBy, run: Run, index: int, value: Any) -> Any:
    if group_by.key is None:
        return run.key(index)
    # A tombstone has no field.
    return None if value is None and group_by.is_field else group_by.key(value)


def _partition_of(key: bytes | None, group_by: GroupBy) -> int:
    """Where a record goes: of group_by all that have no key to the same place. Of through they go where they would."""
    return NO_KEY_PARTITION if key is None and group_by.key is not None else BY_KEY


def _forward_run(run: Run, key_of: Callable[[Any], Any] | None, destination: Topic, outbox: Outbox) -> bool:
    """Forward a whole run in comprehensions; False, with nothing done, when that is not possible."""
    assert key_of is not None
    coders = destination.coders
    encode_key = coders.encode_key
    if not run.values:
        return True
    records = run.records()
    try:
        keys = [encode_key(key_of(value)) for value in run.values]
        headers = None if records.headers is None else [*map(pairs_of, records.headers)]
    except BaseException:  # noqa: BLE001 (user code, or somebody's headers; the offender is found one by one)
        return False
    values = [*records.values]
    largest = max(map(len, filter(None, values)), default=0) + max(map(len, filter(None, keys)), default=0)
    if headers is not None:
        largest += max(map(headers_size, filter(None, headers)), default=0)
    if largest > coders.limits.record_bytes_max:
        return False
    timestamps = coders.carried.of_run([*records.timestamps])
    partitions = [NO_KEY_PARTITION if key is None else BY_KEY for key in keys] if None in keys else None
    outbox.extend(destination.name, OutputColumns(keys, values, timestamps, partitions, headers))
    return True
