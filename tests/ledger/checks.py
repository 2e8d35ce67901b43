"""The judge of the ledger: fifteen checks of what was seen, each with a name. Pure: no Kafka, no process, no clock.

A check says in words what is wrong, and nothing when all is well. Each looks at its own property only, so that the name
of a red check says what kind of fault it is: a lost record is no matter of order, for example.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import TypeVar

import msgspec

from tests.ledger.checks_letters import dead_letters, flood_is_whole
from tests.ledger.checks_running import is_live, no_needless_restore, single_owner
from tests.ledger.checks_timed import TIMED_CHECKS
from tests.ledger.folds import ProfileHistory, firsts, fold, merged, movements_of, newest, posted_of, rows_of
from tests.ledger.values import POSTED, Cut, Log, Observed, digest, key_of_text
from tests.ledger.values_timed import WINDOWED_TABLES

# Of many violations of one kind so many are named.
NAMED_MAX = 5
K = TypeVar("K")
V = TypeVar("V")


def verdict(observed: Observed) -> dict[str, list[str]]:
    """Check -> its violations; every check is in it, with an empty list when it found nothing."""
    return {name: list(check(observed)) for name, check in CHECKS.items()}


def no_loss(observed: Observed) -> Iterator[str]:
    """1. What was acknowledged is where the broker said, and every input is in every output."""
    for (partition, offset), row in observed.acked.items():
        log = observed.inputs.get(partition, Log())
        # Negative: the broker has it, and could not say where.
        if log.row_at(offset) != row if offset >= 0 else row not in log.rows():
            yield f"input[{partition}]: what was acknowledged at {offset} is not there: {row}"
            break
    for name, partition, sent, came in _pairs(observed):
        if lost := _minus(sent, came):
            yield f"{name}[{partition}]: {len(lost)} of {len(sent)} movements are lost, ids {lost[:NAMED_MAX]}"
    sent = sorted(_ids(observed.inputs.values()))
    if lost := _minus(sent, _ids(observed.grouped.values())):
        yield f"grouped: {len(lost)} of {len(sent)} movements are lost, ids {lost[:NAMED_MAX]}"
    for partition, log in sorted(observed.grouped.items()):
        passed = _posted_ids(observed.outputs["out2"].get(partition, Log()))
        if lost := _minus(firsts(log).values(), passed):
            yield f"out2[{partition}]: {len(lost)} first movements are lost, ids {lost[:NAMED_MAX]}"
    yield from flood_is_whole(observed, too_few=True)


def no_duplicates(observed: Observed) -> Iterator[str]:
    """2. Nothing is in a topic twice, the input included, nor is anything that nobody sent."""
    sent = Counter(_ids(observed.inputs.values()))
    if twice := _repeated(sent):
        yield f"input: {len(twice)} movements are there twice, ids {twice[:NAMED_MAX]}"
    for name, partition, right, came in _pairs(observed):
        if extra := _minus(came, right):
            yield f"{name}[{partition}]: {len(extra)} records too many, ids {extra[:NAMED_MAX]}"
    if extra := _minus(_ids(observed.grouped.values()), sent.elements()):
        yield f"grouped: {len(extra)} records too many, ids {extra[:NAMED_MAX]}"
    for partition, log in sorted(observed.outputs["out2"].items()):
        right = list(firsts(observed.grouped.get(partition, Log())).values())
        if extra := _minus(_posted_ids(log), right):
            yield f"out2[{partition}]: {len(extra)} records too many, ids {extra[:NAMED_MAX]}"
    yield from flood_is_whole(observed, too_few=False)


def in_order(observed: Observed) -> Iterator[str]:
    """3. Outputs are in the order of their input; after the repartition each account's movements still are."""
    for name, partition, sent, came in _pairs(observed):
        yield from _same_order(f"{name}[{partition}]", sent, came)
    for partition, log in sorted(observed.grouped.items()):
        passed = _posted_ids(observed.outputs["out2"].get(partition, Log()))
        yield from _same_order(f"out2[{partition}]", list(firsts(log).values()), passed)
    # Not by `seq`: a producer that is replaced may itself store an older movement behind a newer one.
    place_of = {
        movement.id: (account, index)
        for log in observed.inputs.values()
        for index, (account, movement) in enumerate(zip(log.keys, movements_of(log), strict=True))
    }
    for partition, log in sorted(observed.grouped.items()):
        last: dict[str, int] = {}
        for id in dict.fromkeys(movement.id for movement in movements_of(log)):
            account, index = place_of.get(id, ("", -1))
            if index < last.get(account, -1):
                yield f"grouped[{partition}]: movement {id} of {account} is behind a later one of this account"
                break
            last[account] = index


def has_right_state(observed: Observed) -> Iterator[str]:
    """4. Each result is what the fold gives there; tables, changelogs and stores on disk agree to the byte."""
    for partition, log in sorted(observed.inputs.items()):
        yield from _results_fold(observed, partition, log)
    for partition, log in sorted(observed.outputs["out5"].items()):
        yield from _join_sees_prefixes(partition, log, observed)
    yield from _tables_agree(observed)
    yield from _stores_are_prefixes(observed)


def is_atomic(observed: Observed) -> Iterator[str]:
    """5. At each cut every input has either all of its effects (outputs, changelogs, committed offset) or none."""
    for cut in observed.cuts:
        for partition, log in sorted(observed.inputs.items()):
            done = log.count_before(cut.posted.get(partition, 0))
            yield from _effects_are_whole(observed, cut, partition, done)
        right: Counter[str] = Counter()
        for partition, log in observed.inputs.items():
            right.update(fold(log, log.count_before(cut.posted.get(partition, 0))).sums)
        logged = {
            key: value
            for partition, log in observed.changelogs["sums"].items()
            for key, value in newest(log, cut.ends.get(("changelog:sums", partition), 0)).items()
        }
        if wrong := _differing({f'"{key}"': str(total) for key, total in right.items()}, _text(logged)):
            yield f"{cut.name}: the changelog of sums is not what the committed offsets say: {wrong}"


def is_isolated(observed: Observed) -> Iterator[str]:
    """6. A concurrent read_committed reader saw a prefix of what counts: no aborted record, and never went back."""
    topics: dict[str, Mapping[int, Log]] = {
        "grouped": observed.grouped,
        "dead": {0: observed.letters_log},
        **observed.outputs,
        **{f"changelog:{table}": logs for table, logs in observed.changelogs.items()},
    }
    for (topic, partition), sight in sorted(observed.sights.items()):
        back = next((pair for pair in pairwise(sight.offsets) if pair[1] <= pair[0]), None)
        if back is not None:
            yield f"{topic}[{partition}]: a reader saw offset {back[1]} after {back[0]}"
        log = topics.get(topic, {}).get(partition, Log())
        right = dict(zip(log.offsets, (digest(*row) for row in log.rows()), strict=True))
        seen = dict(zip(sight.offsets, sight.digests, strict=True))
        if leaked := [offset for offset, found in seen.items() if right.get(offset) != found]:
            yield f"{topic}[{partition}]: a reader saw what does not count, at offsets {leaked[:NAMED_MAX]}"
        passed = log.offsets[: log.count_before(max(seen, default=-1) + 1)]
        if missed := [offset for offset in passed if offset not in seen]:
            yield f"{topic}[{partition}]: a reader was not shown offsets {missed[:NAMED_MAX]}, but later ones"
    for topic, logs in topics.items():
        written = any(len(log) for log in logs.values())
        if written and not any(observed.sights[place].offsets for place in observed.sights if place[0] == topic):
            yield f"{topic}: the concurrent reader saw nothing, so this check would say nothing"


def leaves_no_transaction(observed: Observed) -> Iterator[str]:
    """7. The last stable offset is the high watermark everywhere."""
    for (topic, partition), (stable, high) in sorted(observed.ends.items()):
        if stable != high:
            yield f"{topic}[{partition}]: a transaction is open: last stable offset {stable}, high watermark {high}"


CHECKS: Mapping[str, Callable[[Observed], Iterable[str]]] = {
    "no loss": no_loss,
    "no duplicates": no_duplicates,
    "order": in_order,
    "state": has_right_state,
    "atomicity": is_atomic,
    "isolation": is_isolated,
    "no hanging transaction": leaves_no_transaction,
    "single ownership": single_owner,
    "liveness": is_live,
    "no needless restore": no_needless_restore,
    "dead letters": dead_letters,
    **TIMED_CHECKS,
}


def _pairs(observed: Observed) -> Iterator[tuple[str, int, list[int], list[int]]]:
    """Output, partition, ids that must be there, ids that are there: of the outputs that mirror the input."""
    for partition in sorted({*observed.inputs, *chain(*(observed.outputs[name] for name in POSTED))}):
        sent = [movement.id for _, movement in rows_of(observed.inputs.get(partition, Log()))]
        for name in POSTED:
            log = observed.outputs[name].get(partition, Log())
            yield name, partition, sent, _posted_ids(log)


def _ids(logs: Iterable[Log]) -> Iterator[int]:
    return (movement.id for log in logs for movement in movements_of(log))


def _posted_ids(log: Log) -> list[int]:
    return [posted.id for posted in posted_of(log)]


def _minus(these: Iterable[int], those: Iterable[int]) -> list[int]:
    """What is in `these` more often than in `those`, sorted."""
    return sorted((Counter(these) - Counter(those)).elements())


def _repeated(counts: Counter[int]) -> list[int]:
    return sorted(id for id, count in counts.items() if count > 1)


def _same_order(what: str, right: Sequence[int], came: Sequence[int]) -> Iterator[str]:
    """The first occurrences of the ids that both have are in one order."""
    both = {*right} & {*came}
    expected = [id for id in dict.fromkeys(right) if id in both]
    found = [id for id in dict.fromkeys(came) if id in both]
    for index, (one, other) in enumerate(zip(expected, found, strict=True)):
        if one != other:
            yield f"{what}: element {index} is movement {other}, where {one} should be"
            return


def _results_fold(observed: Observed, partition: int, log: Log) -> Iterator[str]:
    """The n-th sum and count of each account; the echo is what came, key and value."""
    right = fold(log)
    # Without what must be refused: what came of it is a duplicate, and no matter of state.
    account_of = {
        movement.id: row for movement, row in zip(movements_of(log), log.rows(), strict=True) if not movement.is_bad
    }
    for name, wrong in (
        ("out1", lambda row, posted: row != account_of[posted.id]),
        ("out3", lambda _, posted: posted.total != right.totals[posted.id]),
        ("out4", lambda _, posted: (posted.window, posted.count) != right.windows[posted.id]),
    ):
        output = observed.outputs[name].get(partition, Log())
        for row, posted in zip(output.rows(), posted_of(output), strict=True):
            if posted.id in account_of and wrong(row, posted):
                yield (
                    f"{name}[{partition}]: {row[0]} has {row[1]!r}; the fold gives the total {right.totals[posted.id]} "
                    f"and the window {right.windows[posted.id]}"
                )
                break
            if posted.id in account_of and row[0] != account_of[posted.id][0]:
                yield f"{name}[{partition}]: movement {posted.id} is under the key {row[0]}"
                break


def _join_sees_prefixes(partition: int, log: Log, observed: Observed) -> Iterator[str]:
    """Each look-up saw the profiles as after some prefix of their topic, and never an older one than before."""
    history = ProfileHistory.of(observed.names.get(partition, Log()))
    seen = 0
    for account, posted in zip(log.keys, posted_of(log), strict=True):
        prefix = history.least_prefix(account, posted.version, seen)
        if prefix is None:
            yield (
                f"out5[{partition}]: movement {posted.id} was joined with version {posted.version} of {account}, which "
                f"was not current at or after profile number {seen}, and this had been seen; versions and the numbers "
                f"from which they are: {history.seen_from.get(account)}"
            )
            return
        seen = prefix


def _tables_agree(observed: Observed) -> Iterator[str]:
    """What the input says, what the app tells and what the changelogs say are one."""
    folds = [fold(log) for log in observed.inputs.values()]
    right: dict[str, dict[str, str]] = {
        "sums": {f'"{key}"': str(total) for one in folds for key, total in one.sums.items()},
        "windows": {f'"{key}"': str(count) for one in folds for key, count in one.counts.items()},
        "recent": {f'"{key}"': msgspec.json.encode(ids).decode() for one in folds for key, ids in one.recent.items()},
        "profiles": {f'"{key}"': f'"{value.decode()}"' for key, value in merged(observed.names).items()},
        "orders": {key: str(id) for log in observed.grouped.values() for key, id in firsts(log).items()},
    }
    for name, table in right.items():
        for what, actual in (
            ("as the app tells it", observed.tables.get(name, {})),
            ("rebuilt from its changelog", _text(merged(observed.changelogs.get(name, {})))),
        ):
            if wrong := _differing(table, actual):
                yield f"table {name} {what} is not what the input says: {wrong}"


def _stores_are_prefixes(observed: Observed) -> Iterator[str]:
    """Each shard on a disk is its changelog up to the offset that it names, to the byte; one copy is at the end."""
    reached: dict[tuple[str, int], int] = {}
    for copy in observed.stores:
        log = observed.changelogs[copy.table].get(copy.partition, Log())
        what = f"store of {copy.table}[{copy.partition}] on {copy.host}"
        if copy.next_offset is None:
            if copy.rows:
                yield f"{what}: {len(copy.rows)} rows, and no offset"
            continue
        right = {key_of_text(key): value for key, value in newest(log, copy.next_offset).items()}
        rows = copy.rows
        if copy.table in WINDOWED_TABLES:
            rows = {key: row[-len(right[key]) :] if key in right else row for key, row in rows.items()}
        if wrong := _differing(right, rows):
            yield f"{what} is not its changelog up to {copy.next_offset}: {wrong}"
        place = (copy.table, copy.partition)
        reached[place] = max(copy.next_offset, reached.get(place, 0))
    for table, logs in observed.changelogs.items():
        for partition, log in sorted(logs.items()):
            if reached.get((table, partition), 0) < log.end():
                yield (
                    f"{table}[{partition}]: no store is at the end of the changelog, {log.end()}, after an orderly "
                    f"end: the nearest is at {reached.get((table, partition))}"
                )


def _effects_are_whole(observed: Observed, cut: Cut, partition: int, done: int) -> Iterator[str]:
    """The committed offset says how many movements are done; each output has these and no other."""
    right = {movement.id for _, movement in rows_of(observed.inputs[partition], done)}
    for name in POSTED:
        log = observed.outputs[name].get(partition, Log())
        came = {*_posted_ids(log)[: log.count_before(cut.ends.get((name, partition), 0))]}
        if torn := sorted(right ^ came):
            yield (
                f"{cut.name}: input[{partition}] is committed up to {cut.posted.get(partition, 0)}, and {name} differs "
                f"in {len(torn)} movements, ids {torn[:NAMED_MAX]}"
            )
    refused = {movement.id for movement in movements_of(observed.inputs[partition])[:done] if movement.is_bad}
    end = cut.ends.get(("dead", 0), 0)
    told = {one.id for one in observed.letters if (one.topic, one.partition) == ("in", partition) and one.at < end}
    if torn := sorted(refused ^ told):
        yield f"{cut.name}: the dead letters of input[{partition}] differ in movements {torn[:NAMED_MAX]}"


def _text(table: Mapping[str, bytes]) -> dict[str, str]:
    return {key: value.decode() for key, value in table.items()}


def _differing(right: Mapping[K, V], actual: Mapping[K, V]) -> str:
    """In words how many keys differ, with an example; empty when none does."""
    wrong = [key for key in {**right, **actual} if right.get(key) != actual.get(key)]
    if not wrong:
        return ""
    key = wrong[0]
    return f"{len(wrong)} of {len(right)} keys differ, {key!r} is {actual.get(key)!r}, not {right.get(key)!r}"
