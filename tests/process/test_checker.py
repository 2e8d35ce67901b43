"""The judge is judged: a right run passes, and each seeded violation turns the verdict red."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.process.checker import Observed, Row, Rows, entry, fold, rebuild, shop_of, verdict, verdict_at_least_once

PARTITIONS = 4
Mutable = dict[int, list[Row]]


def right_run() -> Observed:
    """A run in which everything is as it must be, made without the checker's own fold."""
    random_source = random.Random(7)
    inputs: Mutable = {partition: [] for partition in range(PARTITIONS)}
    sums: Mutable = {partition: [] for partition in range(PARTITIONS)}
    counts: Mutable = {partition: [] for partition in range(PARTITIONS)}
    totals: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for number in range(400):
        account_number = random_source.randrange(24)
        account, partition = f"account{account_number}", account_number % PARTITIONS
        amount = random_source.randrange(1, 100)
        inputs[partition].append(entry(number, account, amount))
        totals[account] += amount
        sums[partition].append(Row(account, json.dumps({"number": number, "total": totals[account]}).encode()))
        shop = shop_of(number)
        seen[shop] += 1
        counts[len(shop) % PARTITIONS].append(Row(shop, json.dumps({"count": seen[shop]}).encode()))
    return Observed(
        acked={(partition, at): row for partition, rows in inputs.items() for at, row in enumerate(rows)},
        inputs=inputs,
        echoes={partition: list(rows) for partition, rows in inputs.items()},
        sums=sums,
        counts=counts,
        tables={"sums": dict(totals), "counts": dict(seen)},
        changelogs={
            "sums": {0: [Row(key, b"1") for key in totals] + [Row(key, b"%d" % n) for key, n in totals.items()]},
            "counts": {0: [Row(key, b"%d" % n) for key, n in seen.items()]},
        },
        ends={("out", partition): (100, 100) for partition in range(PARTITIONS)},
    )


def changed(rows: Rows, change: Callable[[list[Row]], object], partition: int = 1) -> Rows:
    """A copy of `rows` with one partition changed."""
    copy = {number: list(part) for number, part in rows.items()}
    change(copy[partition])
    return copy


def drop(rows: list[Row]) -> None:
    """Lose one from the middle."""
    del rows[len(rows) // 2]


def drop_last(rows: list[Row]) -> None:
    """Lose the last one, which shifts nothing."""
    rows.pop()


def duplicate(rows: list[Row]) -> None:
    """One twice in a row."""
    rows.insert(10, rows[10])


def replay(rows: list[Row]) -> None:
    """A piece from before once more, as after a lost commit."""
    rows.extend(rows[-5:])


def swap(rows: list[Row]) -> None:
    """Two neighbours with different values change places."""
    rows[4], rows[5] = rows[5], rows[4]


def leak(rows: list[Row]) -> None:
    """A record of an aborted transaction is visible."""
    rows.insert(3, entry(99_999, rows[3].key, 1))


def foreign(rows: list[Row]) -> None:
    """A key that nobody sent."""
    rows.append(Row("nobody", json.dumps({"number": 5, "total": 5, "count": 1}).encode()))


def stale_fold(rows: list[Row]) -> None:
    """One sum was made from a state that had missed an update."""
    value = json.loads(rows[20].value or b"{}")
    field = "total" if "total" in value else "count"
    rows[20] = Row(rows[20].key, json.dumps({**value, field: value[field] - 1}).encode())


def moved(rows: Rows) -> Rows:
    """The same rows on the wrong partitions."""
    return {(partition + 1) % PARTITIONS: part for partition, part in rows.items()}


def bury(rows: list[Row]) -> None:
    """Delete a key of the table."""
    rows.append(Row(rows[0].key, None))


COUNTS_PARTITION = len(shop_of(0)) % PARTITIONS
Violate = Callable[[Observed], dict[str, Any]]


def of_rows(field: str, change: Callable[[list[Row]], object], partition: int = 1) -> Violate:
    """The violation that changes the rows of one output."""
    return lambda run: {field: changed(getattr(run, field), change, partition)}


VIOLATIONS: dict[str, Violate] = {
    **{f"echo_{c.__name__}": of_rows("echoes", c) for c in (drop, drop_last, duplicate, replay, swap, leak, foreign)},
    **{f"sums_{c.__name__}": of_rows("sums", c) for c in (drop, drop_last, duplicate, replay, stale_fold, foreign)},
    **{
        f"counts_{c.__name__}": of_rows("counts", c, COUNTS_PARTITION)
        for c in (drop, drop_last, duplicate, replay, stale_fold, foreign)
    },
    "echo_on_wrong_partitions": lambda run: {"echoes": moved(run.echoes)},
    "sums_on_wrong_partitions": lambda run: {"sums": moved(run.sums)},
    "a_partition_without_output": lambda run: {"echoes": {n: rows for n, rows in run.echoes.items() if n != 2}},
    "nothing_at_all": lambda run: {"echoes": {}, "sums": {}, "counts": {}},
    "acked_input_is_gone": lambda run: {"inputs": changed(run.inputs, drop), "echoes": changed(run.echoes, drop)},
    "table_is_stale": lambda run: {"tables": {**run.tables, "sums": {**run.tables["sums"], "account3": 1}}},
    "table_lacks_a_key": lambda run: {"tables": {**run.tables, "counts": {}}},
    "changelog_lacks_the_last_update": lambda run: {
        "changelogs": {**run.changelogs, "sums": changed(run.changelogs["sums"], drop_last, 0)}
    },
    "changelog_has_a_tombstone": lambda run: {
        "changelogs": {**run.changelogs, "counts": changed(run.changelogs["counts"], bury, 0)}
    },
    "open_transaction": lambda run: {"ends": {**run.ends, ("out", 3): (90, 100)}},
}


def test_a_right_run_passes() -> None:
    """No violation is found where there is none."""
    assert verdict(right_run()) == []


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_each_seeded_violation_is_found(violation: str) -> None:
    """A run with one thing wrong is not judged right."""
    run = right_run()

    found = verdict(replace(run, **VIOLATIONS[violation](run)))

    assert found, violation


@pytest.mark.parametrize("change", [drop, drop_last, swap, leak, foreign])
def test_at_least_once_refuses_losses_and_strangers(change: Callable[[list[Row]], object]) -> None:
    """A lost, foreign or reordered row is a violation there too."""
    run = right_run()

    assert verdict_at_least_once(run.inputs, changed(run.echoes, change))


@pytest.mark.parametrize("change", [duplicate, replay])
def test_at_least_once_allows_repetition(change: Callable[[list[Row]], object]) -> None:
    """The same rows again are no violation there."""
    run = right_run()

    assert verdict_at_least_once(run.inputs, changed(run.echoes, change)) == []


def test_fold_and_rebuild_by_hand() -> None:
    """The two computations that everything is compared with, on an example that a reader can check."""
    inputs = {0: [entry(0, "a", 5), entry(1, "b", 2), entry(2, "a", 1)]}

    assert fold(inputs) == {"a": [5, 6], "b": [2]}
    assert rebuild({0: [Row("a", b"5"), Row("b", b"2"), Row("a", b"6"), Row("b", None)]}) == {"a": 6}
