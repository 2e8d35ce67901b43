"""Violations around movements that must be refused, that take long, and stores that were damaged. No test in here."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.ledger.mutations import MUTATIONS, Pick, double, long_log, mutation, remove
from tests.ledger.values import BAD_ORDER, Letter, Log, Observed, Restored

# All of them: with those of this file.
__all__ = ["MUTATIONS"]


def place_of(logs: object, pick: Pick, *told: str) -> tuple[int, Log, int]:
    """One of the movements that are told to do this: partition, log, index."""
    assert isinstance(logs, dict)
    found = [
        (partition, log, index)
        for partition, log in sorted(logs.items())
        for index, value in enumerate(log.values)
        if json.loads(value).get("do", "").startswith(told)
    ]
    assert found, f"no movement is told {told}"
    return found[pick(len(found))]


def output_of(run: Observed, name: str, id: int) -> tuple[Log, int]:
    """Where an output of a movement is."""
    return next(
        (log, index)
        for log in run.outputs[name].values()
        for index, value in enumerate(log.values)
        if json.loads(value or b"")["id"] == id
    )


@mutation("dead letters")
def a_bad_movement_is_lost(run: Observed, pick: Pick) -> Observed:
    """It was passed without a word."""
    at = pick(len(run.letters))
    return replace(run, letters=[*run.letters[:at], *run.letters[at + 1 :]])


@mutation("dead letters")
def a_dead_letter_is_sent_twice(run: Observed, pick: Pick) -> Observed:
    """A trial's letter was in two transactions."""
    letter = run.letters[pick(len(run.letters))]
    return replace(run, letters=[*run.letters, replace(letter, at=10_000_000)])


@mutation("dead letters")
def a_good_movement_is_a_dead_letter(run: Observed, pick: Pick) -> Observed:
    """A disk's fault was taken for the event's: done, and a dead letter too."""
    partition, log, index = place_of(run.inputs, pick, "hang ")
    id = json.loads(log.values[index] or b"")["id"]
    return replace(run, letters=[*run.letters, Letter(9_999, id, "post", "in", partition, log.offsets[index], "disk")])


@mutation("dead letters")
def a_dead_letter_names_another_place(run: Observed, pick: Pick) -> Observed:
    """It is of the right movement, and says where the next one is."""
    at = pick(len(run.letters))
    wrong = replace(run.letters[at], offset=run.letters[at].offset + 1)
    return replace(run, letters=[*run.letters[:at], wrong, *run.letters[at + 1 :]])


@mutation("dead letters")
def a_bad_order_is_stored(run: Observed, pick: Pick) -> Observed:
    """The repartitioned half has no letter, as if what cannot be encoded had been."""
    return replace(run, letters=[one for one in run.letters if one.agent != "take_first"])


@mutation("no duplicates")
def a_bad_movement_has_results(run: Observed, pick: Pick) -> None:
    """What it had sent before it failed was committed, beside its dead letter."""
    partition, log, index = place_of(run.inputs, pick, "bad value")
    output = run.outputs["out1"][partition]
    output.add(output.end() + 1, log.keys[index], log.values[index])


@mutation("state")
def a_bad_movement_is_counted(run: Observed, pick: Pick) -> None:
    """What it had added before it failed was kept."""
    _, log, index = place_of(run.inputs, pick, "bad value")
    table = run.tables["sums"]
    key = json.dumps(log.keys[index])
    amount = json.loads(log.values[index] or b"")["amount"]
    table[key] = str(int(table.get(key, "0")) + amount)  # type: ignore[index]  # a dict here


@mutation("no duplicates")
def a_bad_order_has_results(run: Observed, pick: Pick) -> None:
    """It passed as the first of its order, beside its dead letter."""
    partition, log, index = place_of(run.grouped, pick, BAD_ORDER)
    output = run.outputs["out2"][partition]
    output.add(output.end() + 1, log.keys[index], b'{"id": %d}' % json.loads(log.values[index] or b"")["id"])


@mutation("atomicity")
def a_dead_letter_comes_after_its_offset(run: Observed, pick: Pick) -> Observed:
    """At the cut the bad movement's offset was committed, and its letter came with the next transaction."""
    at = next(one.at for one in run.letters if one.agent == "post")
    return replace(run, cuts=[replace(cut, ends={**cut.ends, ("dead", 0): at}) for cut in run.cuts])


@mutation("no duplicates")
def a_hanging_event_is_done_twice(run: Observed, pick: Pick) -> None:
    """Its first try was committed, too."""
    _, log, index = place_of(run.inputs, pick, "hang ")
    double(*output_of(run, "out1", json.loads(log.values[index] or b"")["id"]))


@mutation("no loss")
def a_hanging_event_is_given_up_on(run: Observed, pick: Pick) -> None:
    """It was passed in the middle: what it sends last never came."""
    _, log, index = place_of(run.inputs, pick, "hang ")
    remove(*output_of(run, "out5", json.loads(log.values[index] or b"")["id"]))


@mutation("no duplicates")
def a_flood_is_committed_early(run: Observed, pick: Pick) -> None:
    """What went to Kafka before its event was finished stayed there when that was rolled back."""
    log = long_log(run.outputs["flood"])
    double(log, pick(len(log)))


@mutation("no loss")
def a_flood_has_a_hole(run: Observed, pick: Pick) -> None:
    """What went to Kafka early was taken back, and not sent again."""
    log = long_log(run.outputs["flood"])
    remove(log, pick(len(log)))


@mutation("state")
def a_damaged_store_is_restored_in_part(run: Observed, pick: Pick) -> Observed:
    """It says that it is at the end, and lacks a row."""
    at = next(index for index, one in enumerate(run.stores) if one.table == "recent" and one.rows)
    rows = dict(run.stores[at].rows)
    del rows[sorted(rows)[pick(len(rows))]]
    return replace(run, stores=[*run.stores[:at], replace(run.stores[at], rows=rows), *run.stores[at + 1 :]])


@mutation("state")
def a_list_that_was_changed_in_place_is_not_kept(run: Observed, pick: Pick) -> None:
    """What was read from a damaged store and changed came from before the last commits."""
    log = long_log(run.changelogs["recent"])
    log.values[len(log) - 1] = b"[]"


@mutation("no needless restore")
def one_damage_excuses_one_restore(run: Observed, pick: Pick) -> Observed:
    """The store was set aside once more, without a damage."""
    excused = Restored("one", "4_1", 201, restored=1_000_000, tail_max=100, at=2.0, is_excused=True)
    return replace(run, restores=[*run.restores, excused, replace(excused, at=3.0, is_excused=False)])
