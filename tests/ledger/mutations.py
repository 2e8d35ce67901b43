"""Violations to be seeded into a right history: each says which check it must turn red. No test in here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

from tests.ledger.folds import movements_of, posted_of
from tests.ledger.values import Claim, Log, Observed, Restored, Usage

# What a mutation may choose a place with: it takes a number of places and returns the index of one.
Pick = Callable[[int], int]
Mutate = Callable[[Observed, Pick], Observed]
MUTATIONS: dict[str, tuple[str, Mutate]] = {}


def mutation(check: str) -> Callable[[Callable[[Observed, Pick], Observed | None]], Mutate]:
    """Register a mutation under the check that must turn red. It may change the copy that it gets in place."""

    def register(change: Callable[[Observed, Pick], Observed | None]) -> Mutate:
        def mutate(run: Observed, pick: Pick) -> Observed:
            changed = change(run, pick)
            return run if changed is None else changed

        MUTATIONS[change.__name__] = (check, mutate)
        return mutate

    return register


def long_log(logs: Any, least: int = 8) -> Log:
    """The longest partition of a topic."""
    found: Log = max(logs.values(), key=len)
    assert len(found) >= least, "the history is too short to be mutated"
    return found


def change_one(logs: Any, pick: Pick, change: Callable[[Log, int], None]) -> None:
    """Change one record of the longest partition of a topic."""
    log = long_log(logs)
    change(log, pick(len(log)))


def remove(log: Log, index: int) -> None:
    """Take one record out."""
    for column in (log.offsets, log.keys, log.values, log.times):
        del column[index]


def double(log: Log, index: int) -> None:
    """The same record again at the end."""
    log.add(log.end() + 1, log.keys[index], log.values[index], log.times[index])


def rewrite(log: Log, index: int, **fields: object) -> None:
    """Change fields of one JSON value."""
    log.values[index] = json.dumps({**json.loads(log.values[index] or b"{}"), **fields}).encode()


def _of_each_output(names: tuple[str, ...], check: str, what: str, change: Callable[[Log, int], None]) -> None:
    for name in names:

        def mutate(run: Observed, pick: Pick, name: str = name) -> None:
            change_one(run.outputs[name], pick, change)

        mutate.__name__ = f"{what}_{name}"
        mutation(check)(mutate)


def swap(log: Log, index: int) -> None:
    """Two neighbours change places."""
    one = min(index, len(log) - 2)
    log.keys[one : one + 2] = reversed(log.keys[one : one + 2])
    log.values[one : one + 2] = reversed(log.values[one : one + 2])


ALL = ("out1", "out2", "out3", "out4", "out5")
_of_each_output(ALL, "no loss", "drop_one_of", remove)
_of_each_output(ALL, "no duplicates", "duplicate_one_of", double)
_of_each_output(ALL, "order", "swap_two_of", swap)


@mutation("no loss")
def acked_input_is_gone(run: Observed, pick: Pick) -> Observed:
    """The broker said it has it, and it is not there."""
    return replace(run, acked={**run.acked, (0, 10_000_000): next(iter(run.acked.values()))})


@mutation("no loss")
def drop_one_of_the_repartition(run: Observed, pick: Pick) -> None:
    """A movement never came to the second half."""
    change_one(run.grouped, pick, remove)


@mutation("no loss")
def nothing_comes_out(run: Observed, pick: Pick) -> Observed:
    """All partitions of one output are empty."""
    return replace(run, outputs={**run.outputs, "out3": {}})


@mutation("no duplicates")
def double_the_input(run: Observed, pick: Pick) -> None:
    """The producer's retry was stored twice."""
    change_one(run.inputs, pick, double)


@mutation("no duplicates")
def a_stranger_comes_out(run: Observed, pick: Pick) -> None:
    """A record of a movement that nobody sent."""
    log = long_log(run.outputs["out5"])
    log.add(log.end(), log.keys[0], b'{"id": 99999999, "version": 1}')


@mutation("order")
def swap_an_account_in_the_repartition(run: Observed, pick: Pick) -> None:
    """An account's later movement is repartitioned before its earlier one."""
    for log in run.grouped.values():
        seen: dict[str, int] = {}
        account_of = {value: key for one in run.inputs.values() for key, value in one.rows()}
        for index, value in enumerate(log.values):
            account = account_of[value]
            if account in seen:
                at = seen[account]
                log.values[at], log.values[index] = log.values[index], log.values[at]
                log.keys[at], log.keys[index] = log.keys[index], log.keys[at]
                return
            seen[account] = index


@mutation("state")
def skip_a_fold(run: Observed, pick: Pick) -> None:
    """One sum was made from a state that had missed an update."""
    log = long_log(run.outputs["out3"])
    index = pick(len(log))
    rewrite(log, index, total=json.loads(log.values[index] or b"")["total"] - 1)


@mutation("state")
def miscount_a_window(run: Observed, pick: Pick) -> None:
    """One count of a window is one too many."""
    log = long_log(run.outputs["out4"])
    index = pick(len(log))
    rewrite(log, index, count=json.loads(log.values[index] or b"")["count"] + 1)


@mutation("state")
def stale_read_of_the_join(run: Observed, pick: Pick) -> None:
    """A look-up gave a version from before one that had been seen already."""
    for log in run.outputs["out5"].values():
        newest: dict[str, int] = {}
        for index, (account, value) in enumerate(zip(log.keys, log.values, strict=True)):
            version = json.loads(value or b"")["version"]
            if newest.get(account, 0) > 1:
                rewrite(log, index, version=newest[account] - 1)
                return
            newest[account] = max(version, newest.get(account, 0))
    raise AssertionError("no account has a second version")


@mutation("state")
def join_with_a_version_that_never_was(run: Observed, pick: Pick) -> None:
    """A look-up gave what nobody wrote."""
    log = long_log(run.outputs["out5"])
    rewrite(log, pick(len(log)), version=777)


@mutation("state")
def echo_another_value(run: Observed, pick: Pick) -> None:
    """The echo is of the right movement, and not what came."""
    log = long_log(run.outputs["out1"])
    rewrite(log, pick(len(log)), amount=0)


@mutation("state")
def stale_table(run: Observed, pick: Pick) -> None:
    """The app tells an old value of one key."""
    table = run.tables["sums"]
    key = sorted(table)[pick(len(table))]
    table[key] = "1"  # type: ignore[index]  # a dict here


@mutation("state")
def changelog_lacks_its_last_update(run: Observed, pick: Pick) -> None:
    """What a rebuild would give is older than what the app has."""
    log = long_log(run.changelogs["windows"])
    remove(log, len(log) - 1)


@mutation("state")
def standby_differs(run: Observed, pick: Pick) -> Observed:
    """A copy on another host has one wrong byte."""
    at = next(index for index, copy_ in enumerate(run.stores) if copy_.host == "two")
    rows = dict(run.stores[at].rows)
    key = sorted(rows)[pick(len(rows))]
    rows[key] += b"0"
    return replace(run, stores=[*run.stores[:at], replace(run.stores[at], rows=rows), *run.stores[at + 1 :]])


@mutation("state")
def no_store_is_at_the_end(run: Observed, pick: Pick) -> Observed:
    """After an orderly end one shard's store is behind its changelog."""
    return replace(
        run, stores=[one for one in run.stores if (one.table, one.host, one.partition) != ("sums", "one", 1)]
    )


@mutation("atomicity")
def torn_output(run: Observed, pick: Pick) -> Observed:
    """At the cut one output lacked its last record, whose offset was committed; it came after the restart."""
    log = long_log(run.outputs["out3"])
    partition = next(number for number, one in run.outputs["out3"].items() if one is log)
    last = log.offsets[log.count_before(run.cuts[0].ends["out3", partition]) - 1]
    ends = {**run.cuts[0].ends, ("out3", partition): last}
    return replace(run, cuts=[replace(run.cuts[0], ends=ends), *run.cuts[1:]])


@mutation("atomicity")
def offset_without_its_effects(run: Observed, pick: Pick) -> Observed:
    """At the cut an offset was committed, and nothing else of its event."""
    posted = {**run.cuts[0].posted, 1: run.cuts[0].posted[1] + 1}
    return replace(run, cuts=[replace(run.cuts[0], posted=posted), *run.cuts[1:]])


@mutation("atomicity")
def changelog_is_torn_from_its_offsets(run: Observed, pick: Pick) -> Observed:
    """At the cut the outputs and offsets counted, and the changelog's last records did not."""
    log = run.changelogs["sums"][1]
    last = log.offsets[log.count_before(run.cuts[0].ends["changelog:sums", 1]) - 1]
    ends = {**run.cuts[0].ends, ("changelog:sums", 1): last}
    return replace(run, cuts=[replace(run.cuts[0], ends=ends), *run.cuts[1:]])


@mutation("isolation")
def aborted_leak(run: Observed, pick: Pick) -> None:
    """The concurrent reader saw a record that is not in the committed log."""
    sight = run.sights["out1", 1]
    sight.offsets.append(sight.offsets[-1] + 1_000)
    sight.digests.append(12345)


@mutation("isolation")
def another_row_was_seen(run: Observed, pick: Pick) -> None:
    """At an offset that counts the reader saw another row."""
    sight = run.sights["out3", 1]
    sight.digests[pick(len(sight.digests))] ^= 1


@mutation("isolation")
def the_reader_went_back(run: Observed, pick: Pick) -> None:
    """The reader was shown an earlier record after a later one."""
    sight = run.sights["changelog:sums", 1]
    sight.offsets.append(sight.offsets[0])
    sight.digests.append(sight.digests[0])


@mutation("isolation")
def the_reader_was_not_shown_one(run: Observed, pick: Pick) -> None:
    """A committed record appeared behind the reader's back, before what it had read."""
    sight = run.sights["out1", 1]
    at = pick(len(sight.offsets) - 1)
    del sight.offsets[at], sight.digests[at]


@mutation("no hanging transaction")
def hanging_transaction(run: Observed, pick: Pick) -> Observed:
    """A partition's last stable offset stays behind."""
    return replace(run, ends={**run.ends, ("out2", 1): (90, 91)})


@mutation("single ownership")
def two_owners(run: Observed, pick: Pick) -> None:
    """One committed range has results of two processes."""
    log = long_log(run.outputs["out3"])
    partition = next(number for number, one in run.outputs["out3"].items() if one is log)
    source = run.inputs[partition]
    ids = [movement.id for movement in movements_of(source)]
    places = {posted.id: place for place, posted in enumerate(posted_of(log))}
    counts = [0, *(source.count_before(commit.posted) for commit in run.commits["in", partition])]
    # Movements that are refused have no result.
    ranges = ([places[id] for id in ids[begin:end] if id in places] for begin, end in pairwise(counts))
    rewrite(log, next(owned[0] for owned in ranges if len(owned) > 1), by=999)


@mutation("single ownership")
def commits_overlap(run: Observed, pick: Pick) -> None:
    """An old owner committed after the new one, an earlier offset."""
    commits = run.commits["in", 1]
    commits.append(replace(commits[-1], offset=commits[-1].offset - 1))  # type: ignore[attr-defined]  # a list here


@mutation("single ownership")
def two_leaders_of_one_term(run: Observed, pick: Pick) -> Observed:
    """Two instances claimed the same term."""
    return replace(run, claims=[*run.claims, Claim(2, 3, "third")])


@mutation("single ownership")
def an_old_leader_writes(run: Observed, pick: Pick) -> Observed:
    """The first leader wrote after the second one."""
    return replace(run, claims=[*run.claims, Claim(1, 1, "first")])


@mutation("single ownership")
def an_epoch_is_written_twice(run: Observed, pick: Pick) -> Observed:
    """Snapshots each have an epoch of their own."""
    return replace(run, claims=[*run.claims, Claim(3, 7, "x", strict=True), Claim(3, 7, "x", strict=True)])


@mutation("liveness")
def it_stalls(run: Observed, pick: Pick) -> Observed:
    """It never caught up: everything else is right up to there."""
    return replace(run, caught_up_seconds=None)


@mutation("liveness")
def it_is_slow(run: Observed, pick: Pick) -> Observed:
    """It caught up too late."""
    return replace(run, caught_up_seconds=run.catch_up_seconds_max + 1)


@mutation("liveness")
def the_last_offset_is_not_committed(run: Observed, pick: Pick) -> Observed:
    """The end of the input was processed, and is not committed."""
    return replace(run, commits={**run.commits, ("names", 1): run.commits["names", 1][:1]})


@mutation("liveness")
def it_does_not_drain(run: Observed, pick: Pick) -> Observed:
    """A host ended with an error."""
    return replace(run, exit_codes={"one": 70})


@mutation("liveness")
def memory_leaks(run: Observed, pick: Pick) -> Observed:
    """4 MB a second."""
    return replace(run, usage={"worker 5": [Usage(float(n), 100_000_000 + n * 4_000_000, 40) for n in range(100)]})


@mutation("liveness")
def descriptors_leak(run: Observed, pick: Pick) -> Observed:
    """Three a second."""
    return replace(run, usage={"worker 5": [Usage(float(n), 100_000_000, 40 + n * 3) for n in range(100)]})


@mutation("liveness")
def memory_leaks_only_between_faults(run: Observed, pick: Pick) -> Observed:
    """Ten faults, after each of which a process starts and leaks until the next one."""
    faults = [(at, at + 1.0) for at in range(0, 1000, 100)]
    usage = {
        f"worker {at}": [Usage(at + n, 100_000_000 + n * 4_000_000, 40) for n in range(1, 100)]
        for at in range(0, 1000, 100)
    }
    return replace(run, usage=usage, faults=faults)


@mutation("liveness")
def memory_is_not_bounded(run: Observed, pick: Pick) -> Observed:
    """A fault after which there is more than the buffers may hold."""
    return replace(run, usage={"worker 5": [Usage(float(n), 2**30 if n > 40 else 2**20, 40) for n in range(100)]})


@mutation("no needless restore")
def restores_are_not_seen(run: Observed, pick: Pick) -> Observed:
    """Looks and tasks name the host in two ways."""
    return replace(run, restores=[])


@mutation("no needless restore")
def restore_from_zero(run: Observed, pick: Pick) -> Observed:
    """The store was there, and the whole changelog was read."""
    return replace(run, restores=[*run.restores, Restored("one", "4_2", 201, restored=1_000_000, tail_max=100)])
