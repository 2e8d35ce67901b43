"""Violations of what goes by event time. No test in here."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import accumulate, pairwise

from tests.ledger.folds import posted_of
from tests.ledger.folds_timed import remembered
from tests.ledger.mutations import Pick, change_one, double, long_log, mutation, remove, rewrite, swap
from tests.ledger.mutations_special import MUTATIONS
from tests.ledger.values import Log, Observed
from tests.ledger.values_timed import TTL

# All of them: with those of this file.
__all__ = ["MUTATIONS"]

WINDOWED = {"closed": "spans", "gone": "visits"}


def told(log: Log, index: int) -> dict[str, object]:
    """What one record says."""
    found: dict[str, object] = json.loads(log.values[index] or b"")
    return found


def _of_each_windowed() -> None:
    for topic in WINDOWED:

        def never(run: Observed, pick: Pick, topic: str = topic) -> None:
            change_one(run.outputs[topic], pick, remove)

        def twice(run: Observed, pick: Pick, topic: str = topic) -> None:
            change_one(run.outputs[topic], pick, double)

        def loses(run: Observed, pick: Pick, topic: str = topic) -> None:
            change_one(run.outputs[topic], pick, lambda log, at: rewrite(log, at, ids=told(log, at)["ids"][1:]))  # type: ignore[index]

        def counts_twice(run: Observed, pick: Pick, topic: str = topic) -> None:
            change_one(run.outputs[topic], pick, lambda log, at: rewrite(log, at, ids=told(log, at)["ids"] * 2))  # type: ignore[operator]

        def is_moved(run: Observed, pick: Pick, topic: str = topic) -> None:
            change_one(run.outputs[topic], pick, lambda log, at: rewrite(log, at, end=told(log, at)["end"] + 1))  # type: ignore[operator]

        def is_dated_otherwise(run: Observed, pick: Pick, topic: str = topic) -> None:
            log = long_log(run.outputs[topic], 1)
            log.times[pick(len(log))] += 1

        def open_is_lost(run: Observed, pick: Pick, topic: str = topic) -> None:
            rows = run.tables[WINDOWED[topic]]
            del rows[sorted(rows)[pick(len(rows))]]  # type: ignore[attr-defined]  # a dict here

        def open_is_in_no_changelog(run: Observed, pick: Pick, topic: str = topic) -> None:
            rows = sorted(run.tables[WINDOWED[topic]])
            row = rows[pick(len(rows))]
            log = next(log for log in run.changelogs[WINDOWED[topic]].values() if row in log.keys)
            log.add(log.end() + 1, row, None)

        def is_deleted_before_it_came_out(run: Observed, pick: Pick, topic: str = topic) -> Observed:
            partition, log = next((number, log) for number, log in run.outputs[topic].items() if len(log) > 1)
            return replace(
                run, cuts=[replace(cut, ends={**cut.ends, (topic, partition): log.offsets[-1]}) for cut in run.cuts]
            )

        for what, change in (
            (f"a_window_of_{topic}_never_comes_out", never),
            (f"a_window_of_{topic}_comes_out_twice", twice),
            (f"a_window_of_{topic}_has_lost_its_first_event", loses),
            (f"a_window_of_{topic}_has_counted_twice", counts_twice),
            (f"a_window_of_{topic}_is_another_one", is_moved),
            (f"a_window_of_{topic}_has_another_timestamp", is_dated_otherwise),
            (f"an_open_window_of_{topic}_is_lost", open_is_lost),
            (f"an_open_window_of_{topic}_is_not_logged", open_is_in_no_changelog),
            (f"a_window_of_{topic}_is_deleted_in_another_commit", is_deleted_before_it_came_out),
        ):
            change.__name__ = what
            mutation("windows")(change)


_of_each_windowed()


@mutation("windows")
def an_open_window_comes_out(run: Observed, pick: Pick) -> None:
    """Time was taken for later than it is."""
    rows = sorted(run.tables["spans"])
    account, (start, end) = json.loads(rows[pick(len(rows))])
    partition = next(number for number, log in run.inputs.items() if account in log.keys)
    log = run.outputs["closed"][partition]
    value = {"start": round(start * 1000), "end": round(end * 1000), "ids": [1]}
    log.add(log.end() + 1, account, json.dumps(value).encode())


@mutation("windows")
def a_late_movement_is_forgotten(run: Observed, pick: Pick) -> None:
    """It was counted in no window and said to be late nowhere."""
    log = max(run.outputs["late"].values(), key=len)
    if len(log):
        remove(log, pick(len(log)))
    else:
        a_movement_is_called_late(run, pick)


def a_movement_is_called_late(run: Observed, pick: Pick) -> None:
    """And is in its window, too."""
    partition = max(run.inputs, key=lambda number: len(run.inputs[number]))
    log, out = run.inputs[partition], run.outputs["late"][partition]
    at = pick(len(log))
    out.add(out.end() + 1, log.keys[at], log.values[at])


mutation("windows")(a_movement_is_called_late)


@mutation("windows")
def windows_come_out_in_another_order(run: Observed, pick: Pick) -> None:
    """A later one before an earlier one."""
    log = long_log(run.outputs["closed"], 4)
    places = [
        at
        for at, (one, other) in enumerate(pairwise(map(json.loads, filter(None, log.values))))
        if one["end"] < other["end"]
    ]
    at = places[pick(len(places))]
    swap(log, at)


def _pairs(run: Observed, *, alone: bool) -> tuple[Log, list[int]]:
    logs = run.outputs["pairs"].values()
    found = [(log, [at for at in range(len(log)) if (told(log, at)["other"] == -1) == alone]) for log in logs]
    return max(found, key=lambda one: len(one[1]))


@mutation("joins")
def a_pair_comes_twice(run: Observed, pick: Pick) -> None:
    """Both of its records found the other one."""
    log, places = _pairs(run, alone=False)
    double(log, places[pick(len(places))])


@mutation("joins")
def nobody_finds_the_payments(run: Observed, pick: Pick) -> None:
    """The buffer was lost: whoever came later is alone."""
    log, places = _pairs(run, alone=False)
    met = sorted({told(log, at)["id"] for at in places}, key=str)
    for at in places:
        rewrite(log, at, other=-1)
    assert met


@mutation("joins")
def a_movement_comes_alone_twice(run: Observed, pick: Pick) -> None:
    """Its deadline passed before a crash and behind it."""
    log, places = _pairs(run, alone=True)
    double(log, places[pick(len(places))])


@mutation("joins")
def a_movement_comes_alone_though_it_has_met(run: Observed, pick: Pick) -> None:
    """As in Kafka Streams before 3.1."""
    log, places = _pairs(run, alone=False)
    at = places[pick(len(places))]
    log.add(log.end() + 1, log.keys[at], json.dumps({"id": told(log, at)["id"], "other": -1}).encode())


@mutation("joins")
def a_movement_never_comes_out(run: Observed, pick: Pick) -> None:
    """Who waits was lost."""
    log, places = _pairs(run, alone=True)
    remove(log, places[pick(len(places))])


@mutation("joins")
def a_pair_is_too_far_apart(run: Observed, pick: Pick) -> None:
    """A movement met a payment that is not of its time, or of another account."""
    log, places = _pairs(run, alone=False)
    rewrite(log, places[pick(len(places))], other=10_000_000)


@mutation("joins")
def a_movement_meets_an_older_profile(run: Observed, pick: Pick) -> None:
    """It did not wait for the version of its time."""
    log = long_log(run.outputs["known"])
    right = {
        id: one
        for partition, movements in run.inputs.items()
        for id, one in remembered(movements, run.names.get(partition, Log())).items()
    }
    # Some may have come before the first version of their profile.
    waited = [number for number, posted in enumerate(posted_of(log)) if 0 not in right[posted.id].versions]
    rewrite(log, waited[pick(len(waited))], version=0)


@mutation("joins")
def a_movement_meets_no_profile_at_all(run: Observed, pick: Pick) -> None:
    """What waited for the profiles was lost."""
    change_one(run.outputs["known"], pick, remove)


@mutation("deduplication")
def a_payment_is_lost(run: Observed, pick: Pick) -> None:
    """The first one was taken for a duplicate."""
    change_one(run.outputs["once"], pick, remove)


@mutation("deduplication")
def a_payment_goes_on_twice(run: Observed, pick: Pick) -> None:
    """That it had gone on was forgotten."""
    change_one(run.outputs["once"], pick, double)


@mutation("deduplication")
def a_duplicate_goes_on(run: Observed, pick: Pick) -> None:
    """The one that was dropped, beside the first."""
    for partition, log in run.paid.items():
        out = run.outputs["once"][partition]
        passed = {told(out, at)["id"] for at in range(len(out))}
        dropped = [at for at in range(len(log)) if told(log, at)["number"] not in passed]
        if dropped:
            at = dropped[pick(len(dropped))]
            out.add(out.end() + 1, log.keys[at], json.dumps({"id": told(log, at)["number"]}).encode())
            return
    a_payment_goes_on_twice(run, pick)


@mutation("expiry")
def an_entry_goes_too_early(run: Observed, pick: Pick) -> None:
    """It begins anew, though its time was not over."""
    partition = max(run.inputs, key=lambda number: len(run.inputs[number]))
    log, out = run.inputs[partition], run.outputs["marked"][partition]
    times = dict(
        zip(
            (told(log, at)["id"] for at in range(len(log))),
            accumulate((int(str(told(log, at)["ts"])) for at in range(len(log))), max),
            strict=True,
        )
    )
    last: dict[str, int] = {}
    found: list[int] = []
    for at, account in enumerate(out.keys):
        time = times[told(out, at)["id"]]
        if account in last and time < last[account] + TTL:
            found.append(at)
        last[account] = time
    rewrite(out, found[pick(len(found))], count=1)


@mutation("expiry")
def an_entry_counts_twice(run: Observed, pick: Pick) -> None:
    """A rollback left it as it was."""
    log = long_log(run.outputs["marked"])
    at = pick(len(log))
    rewrite(log, at, count=int(str(told(log, at)["count"])) + 1)


@mutation("expiry")
def an_entry_stays_for_ever(run: Observed, pick: Pick) -> None:
    """Its time was lost at a restart."""
    left = {json.loads(key) for key in run.tables["marks"]}
    accounts = sorted({account for log in run.inputs.values() for account in log.keys} - left)
    run.tables["marks"][json.dumps(accounts[pick(len(accounts))])] = "1"  # type: ignore[index]  # a dict here


@mutation("expiry")
def an_entry_that_is_not_over_is_gone(run: Observed, pick: Pick) -> None:
    """It was deleted, though it had been written once more."""
    rows = run.tables["marks"]
    del rows[sorted(rows)[pick(len(rows))]]  # type: ignore[attr-defined]  # a dict here
