"""The judge of the seed program: what went in, what came out, and every way in which the two do not fit. Pure.

It knows no Kafka and no process. Values are compared as the whole bytes that a reader of committed records sees; what
would be right is computed here a second time, in the dumbest way.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple


class Row(NamedTuple):
    """One record as a reader of committed records sees it; value None is a tombstone."""

    key: str
    value: bytes | None


Rows = Mapping[int, Sequence[Row]]
SHOPS = 7


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that was seen after the drain. Rows are by partition, in offset order.

    acked: what the producer was told is stored, (partition, offset) -> row. tables: table -> its rows as the app told
    them. changelogs: table -> rows of its changelog. ends: (topic, partition) -> last stable offset and high watermark.
    """

    acked: Mapping[tuple[int, int], Row]
    inputs: Rows
    echoes: Rows
    sums: Rows
    counts: Rows
    tables: Mapping[str, Mapping[str, int]]
    changelogs: Mapping[str, Rows]
    ends: Mapping[tuple[str, int], tuple[int, int]]


def entry(number: int, account: str, amount: int) -> Row:
    """What the producer sends: `number` is unique in a run."""
    return Row(account, json.dumps({"number": number, "account": account, "amount": amount}).encode())


def shop_of(number: int) -> str:
    """The second key, by which the app groups again."""
    return f"shop{number % SHOPS}"


def verdict(observed: Observed) -> list[str]:
    """Every violation of exactly once, in words; empty when all is well."""
    return [
        *_input_is_what_was_acked(observed),
        *same_rows("echo", observed.inputs, observed.echoes),
        *_same_numbers(observed),
        *_sums_fold(observed),
        *_counts_rise(observed),
        *_tables_equal(observed),
        *_no_open_transaction(observed),
    ]


def verdict_at_least_once(inputs: Rows, echoes: Rows) -> list[str]:
    """Every violation of at least once: a loss, a foreign row, or first occurrences out of order."""
    found: list[str] = []
    for partition in sorted({*inputs, *echoes}):
        firsts = list(dict.fromkeys(echoes.get(partition, ())))
        found += _same_list(f"first occurrences of partition {partition}", inputs.get(partition, ()), firsts)
    return found


def fold(inputs: Rows) -> dict[str, list[int]]:
    """Account -> its running sums, from the input alone."""
    sums: dict[str, list[int]] = {}
    for partition in sorted(inputs):
        for row in inputs[partition]:
            so_far = sums.setdefault(row.key, [])
            so_far.append((so_far[-1] if so_far else 0) + _field(row, "amount"))
    return sums


def shops(inputs: Rows) -> Counter[str]:
    """Shop -> how many records it has, from the input alone."""
    return Counter(shop_of(_field(row, "number")) for rows in inputs.values() for row in rows)


def rebuild(changelog: Rows) -> dict[str, int]:
    """The table that a changelog describes: the last value of each key."""
    table: dict[str, int] = {}
    for rows in changelog.values():
        for row in rows:
            if row.value is None:
                table.pop(row.key, None)
            else:
                table[row.key] = int(json.loads(row.value))
    return table


def _field(row: Row, name: str) -> int:
    assert row.value is not None, f"the tombstone of {row.key} has no {name}"
    return int(json.loads(row.value)[name])


def _input_is_what_was_acked(observed: Observed) -> Iterator[str]:
    """Acknowledged records are there; it also guards against a reader that sees less than there is."""
    seen = Counter(row for rows in observed.inputs.values() for row in rows)
    missing = Counter(observed.acked.values()) - seen
    if missing:
        yield f"input: {missing.total()} acknowledged records are not there, for example {next(iter(missing))}"


def same_rows(what: str, expected: Rows, actual: Rows) -> Iterator[str]:
    """Where two topics differ first, for each partition that does."""
    for partition in sorted({*expected, *actual}):
        yield from _same_list(
            f"{what} of partition {partition}", expected.get(partition, ()), actual.get(partition, ())
        )


def _same_list(what: str, expected: Sequence[object], actual: Sequence[object]) -> Iterator[str]:
    for index, (right, found) in enumerate(zip_longest(expected, actual)):
        if right != found:
            yield f"{what}: element {index} of {len(expected)} is {found} in place of {right} ({len(actual)} are there)"
            return


def _same_numbers(observed: Observed) -> Iterator[str]:
    """Says losses and duplicates as such, which the comparison of lists shows only as a shift."""
    sent = Counter(_field(row, "number") for rows in observed.inputs.values() for row in rows)
    came = Counter(_field(row, "number") for rows in observed.echoes.values() for row in rows)
    if lost := sent - came:
        yield f"echo: {lost.total()} records are lost, for example {sorted(lost)[:5]}"
    if extra := came - sent:
        yield f"echo: {extra.total()} records are there too often, for example {sorted(extra)[:5]}"


def _sums_fold(observed: Observed) -> Iterator[str]:
    """The n-th sum of each account is the sum of its first n amounts."""
    came: dict[str, list[int]] = {}
    for partition, rows in sorted(observed.sums.items()):
        for row in rows:
            came.setdefault(row.key, []).append(_field(row, "total"))
        inputs = {row.key for row in observed.inputs.get(partition, ())}
        if foreign := {row.key for row in rows} - inputs:
            yield f"sums of partition {partition}: accounts of other partitions, for example {sorted(foreign)[:3]}"
    right = fold(observed.inputs)
    for account in sorted({*right, *came}):
        yield from _same_list(f"sums of {account}", right.get(account, ()), came.get(account, ()))


def _counts_rise(observed: Observed) -> Iterator[str]:
    """The n-th count of each shop is n, and the last one is how many records the shop has."""
    came: dict[str, list[int]] = {}
    for _, rows in sorted(observed.counts.items()):
        for row in rows:
            came.setdefault(row.key, []).append(_field(row, "count"))
    right = shops(observed.inputs)
    for shop in sorted({*right, *came}):
        yield from _same_list(f"counts of {shop}", range(1, right[shop] + 1), came.get(shop, ()))


def _tables_equal(observed: Observed) -> Iterator[str]:
    """What the app says, what its changelog says and what the input says are one."""
    right: dict[str, Mapping[str, int]] = {
        "sums": {account: sums[-1] for account, sums in fold(observed.inputs).items()},
        "counts": shops(observed.inputs),
    }
    for name, table in right.items():
        for what, actual in (
            ("as the app tells it", observed.tables.get(name, {})),
            ("rebuilt from its changelog", rebuild(observed.changelogs.get(name, {}))),
        ):
            if wrong := sorted(key for key in {*table, *actual} if table.get(key) != actual.get(key)):
                key = wrong[0]
                yield f"table {name} {what}: {len(wrong)} keys differ, {key} is {actual.get(key)}, not {table.get(key)}"


def _no_open_transaction(observed: Observed) -> Iterator[str]:
    for (topic, partition), (stable, high) in sorted(observed.ends.items()):
        if stable != high:
            yield f"{topic}[{partition}]: a transaction is open, the last stable offset is {stable}, the end {high}"
