"""The checks of what goes by event time: windows, joins, duplicates, and entries that expire. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise

from tests.ledger.folds import movements_of, newest, posted_of, rows_of
from tests.ledger.folds_timed import (
    Place,
    Windows,
    accepted,
    closed_of,
    decode_pair,
    partners_of,
    remembered,
    rows_of_windows,
    spans_of,
    visits_of,
)
from tests.ledger.values import CommitSeen, Cut, Log, Observed
from tests.ledger.values_timed import TTL

NAMED_MAX = 5
# An entry goes in the commit after the one that ends its time; one or more of those may have been cut before.
FORGOTTEN_COMMITS = 8
# Table, the topic of what is over, the topic of what came too late, and what must have been.
_WINDOWED: Sequence[tuple[str, str, str, Callable[[Log], Windows]]] = (
    ("spans", "closed", "late", spans_of),
    ("visits", "gone", "late visits", visits_of),
)


def windows_close_once(observed: Observed) -> Iterator[str]:
    """12. Each window that is over came out once, with all it had, the others are open, and late is who came late."""
    for table, over, late, fold in _WINDOWED:
        opened: dict[Place, list[int]] = {}
        for partition, log in sorted(observed.inputs.items()):
            right, out = fold(log), _of(observed, over, partition)
            opened |= right.open
            yield from _same_windows(f"{over}[{partition}]", right, closed_of(out))
            came_late = [movement.id for movement in movements_of(_of(observed, late, partition))]
            yield from _same(f"{late}[{partition}]: late movements", right.late, came_late)
            yield from _are_dated(f"{over}[{partition}]", log, out)
            ends = [place[2] for place, _ in closed_of(out)]
            if back := next((pair for pair in pairwise(ends) if pair[1] < pair[0]), None):
                yield f"{over}[{partition}]: a window up to {back[1]} came out after one up to {back[0]}"
        rows = {key: value.decode() for key, value in _logged(observed, table, None).items()}
        for what, told in (("as the app tells it", observed.tables.get(table, {})), ("in its changelog", rows)):
            found = {place: sorted(ids) for place, ids in rows_of_windows(told).items()}
            if wrong := [place for place in {**found, **opened} if sorted(opened.get(place, [])) != found.get(place)]:
                place = wrong[0]
                yield (
                    f"table {table} {what}: {len(wrong)} open windows differ, {place} has {found.get(place)}, "
                    f"not {opened.get(place)}"
                )
        for cut in observed.cuts:
            yield from _each_is_somewhere(observed, cut, table, over, late)


def _same_windows(what: str, right: Windows, came: Sequence[tuple[Place, list[int]]]) -> Iterator[str]:
    counts = Counter(place for place, _ in came)
    if twice := [place for place, count in counts.items() if count > 1]:
        yield f"{what}: {len(twice)} windows came out twice, {twice[:NAMED_MAX]}"
    if lost := [place for place in right.closed if place not in counts]:
        yield f"{what}: {len(lost)} of {len(right.closed)} windows never came out, {lost[:NAMED_MAX]}"
    if early := [place for place in counts if place not in right.closed]:
        yield f"{what}: {len(early)} windows came out that are not over or never were, {early[:NAMED_MAX]}"
    for place, ids in came:
        if place in right.closed and sorted(ids) != sorted(right.closed[place]):
            yield f"{what}: window {place} came out with the movements {ids}, not {right.closed[place]}"
            return


def _are_dated(what: str, log: Log, out: Log) -> Iterator[str]:
    """What comes of a window has the largest timestamp in it."""
    time_of = {movement.id: movement.ts for movement in movements_of(log)}
    for (place, ids), at in zip(closed_of(out), out.times, strict=True):
        if at != (right := max((time_of.get(id, 0) for id in ids), default=0)):
            yield f"{what}: window {place} came out with the timestamp {at}, not {right}"
            return


def _each_is_somewhere(observed: Observed, cut: Cut, table: str, over: str, late: str) -> Iterator[str]:
    """At a cut each movement that is done is in a window that came out or in one that is open, or was late."""
    right: Counter[int] = Counter()
    found: Counter[int] = Counter()
    for partition, log in observed.inputs.items():
        right.update(movement.id for _, movement in rows_of(log, log.count_before(cut.posted.get(partition, 0))))
        done, out = _of(observed, late, partition), _of(observed, over, partition)
        found.update(
            movement.id for movement in movements_of(done)[: done.count_before(cut.ends.get((late, partition), 0))]
        )
        for _, ids in closed_of(out)[: out.count_before(cut.ends.get((over, partition), 0))]:
            found.update(ids)
    rows = {key: value.decode() for key, value in _logged(observed, table, cut).items()}
    for ids in rows_of_windows(rows).values():
        found.update(ids)
    yield from _same(f"{cut.name}: movements in the windows of {table}", right.elements(), found.elements())


def joins_pair_once(observed: Observed) -> Iterator[str]:
    """13. Each pair came once, each movement came alone or with somebody; and met the profile of its time."""
    for partition, log in sorted(observed.inputs.items()):
        what, right = f"pairs[{partition}]", partners_of(log, observed.paid.get(partition, Log()))
        out = _of(observed, "pairs", partition)
        came = Counter((pair.id, pair.other) for pair in map(decode_pair, filter(None, out.values)))
        alone = Counter({id: count for (id, other), count in came.items() if other == -1})
        met = Counter({pair: count for pair, count in came.items() if pair[1] != -1})
        if lost := sorted((right.must - met).elements()):
            yield f"{what}: {len(lost)} of {right.must.total()} pairs are lost, {lost[:NAMED_MAX]}"
        if extra := sorted((met - right.must - right.may).elements()):
            yield f"{what}: {len(extra)} pairs too many, {extra[:NAMED_MAX]}"
        if twice := sorted(id for id, count in alone.items() if count > 1):
            yield f"{what}: {len(twice)} movements came out alone twice, ids {twice[:NAMED_MAX]}"
        both = {id for id, _ in met} & {*alone}
        if both:
            yield f"{what}: {len(both)} movements came out alone and with somebody, ids {sorted(both)[:NAMED_MAX]}"
        if missing := sorted(right.over - {*alone} - {id for id, _ in met}):
            yield f"{what}: {len(missing)} movements never came out, ids {missing[:NAMED_MAX]}"
        if early := sorted({*alone} & (right.all - right.over)):
            yield f"{what}: {len(early)} movements came out alone too early, ids {early[:NAMED_MAX]}"
        yield from _remembers(observed, partition, log)


def _remembers(observed: Observed, partition: int, log: Log) -> Iterator[str]:
    what, right = f"known[{partition}]", remembered(log, observed.names.get(partition, Log()))
    posted = posted_of(_of(observed, "known", partition))
    yield from _same(f"{what}: movements", [id for id, one in right.items() if one.is_over], [it.id for it in posted])
    for one in posted:
        if one.id in right and one.version not in right[one.id].versions:
            yield f"{what}: movement {one.id} met version {one.version}, not one of {sorted(right[one.id].versions)}"
            return


def duplicates_are_dropped(observed: Observed) -> Iterator[str]:
    """14. Each payment went on once within the interval, and none that was not sent before is taken for a duplicate."""
    for partition, log in sorted(observed.paid.items()):
        came = [posted.id for posted in posted_of(_of(observed, "once", partition))]
        right = accepted(log)
        yield from _same(f"once[{partition}]: payments", right, came)
        if came != right and sorted(came) == sorted(right):
            yield f"once[{partition}]: payments went on in another order"


def entries_expire(observed: Observed) -> Iterator[str]:
    """15. An entry is there until its time is over and then is not: as its counts say, and what is left at the end."""
    left: dict[str, str] = {}
    for partition, log in sorted(observed.inputs.items()):
        commits = observed.commits.get(("in", partition), ())
        clock = _Clock(log, commits)
        counts: dict[str, tuple[int, int]] = {}
        offset_of = dict(zip((movement.id for movement in movements_of(log)), log.offsets, strict=True))
        out = _of(observed, "marked", partition)
        for (account, _), posted in zip(out.rows(), posted_of(out), strict=True):
            at = offset_of.get(posted.id)
            if at is None:
                continue
            before = counts.get(account)
            counts[account] = posted.count, at
            if (wrong := clock.wrong(before, posted.count, at)) is not None:
                yield f"marked[{partition}]: movement {posted.id} counts {posted.count} of {account}, {wrong}"
                return
        for account, (count, at) in counts.items():
            if not clock.is_over(at):
                left[f'"{account}"'] = str(count)
    rows = {key: value.decode() for key, value in _logged(observed, "marks", None).items()}
    for what, told in (("as the app tells it", observed.tables.get("marks", {})), ("in its changelog", rows)):
        if wrong_keys := [key for key in {**left, **told} if left.get(key) != told.get(key)]:
            key = wrong_keys[0]
            yield (
                f"table marks {what}: {len(wrong_keys)} entries differ, {key} is {told.get(key)}, not {left.get(key)}"
            )


class _Clock:
    """The time of a partition at each of its commits."""

    def __init__(self, log: Log, commits: Sequence[CommitSeen]) -> None:
        self._ends = sorted({commit.posted for commit in commits})
        self._log = log
        # Of so many records from the beginning.
        self._marks = [*accumulate((movement.ts for movement in movements_of(log)), max, initial=0)]
        self._times = [self._marks[log.count_before(end)] for end in self._ends]

    def wrong(self, before: tuple[int, int] | None, count: int, at: int) -> str | None:
        """Why a count cannot be, behind the one before and the offset of that; None: it can."""
        if before is None:
            return None if count == 1 else "and it is the first"
        last, last_at = before
        written, done = bisect_right(self._ends, last_at), bisect_right(self._ends, at)
        over_at = self._over_at(written)
        if count == last + 1:
            if over_at is None or done - over_at <= FORGOTTEN_COMMITS:
                return None
            return f"after {last}, which was over {done - over_at} commits before"
        if count != 1:
            return f"after {last}"
        # By the records alone: the broker forgets commits, so there may have been one between any two.
        is_over = self._marks[self._log.count_before(at)] >= self._marks[self._log.count_before(last_at) + 1] + TTL
        return None if is_over else f"after {last}, which was not over"

    def is_over(self, at: int) -> bool:
        """What was written there is gone by now."""
        return self._over_at(bisect_right(self._ends, at)) is not None

    def _over_at(self, written: int) -> int | None:
        """The first commit whose time is beyond that of what commit `written` has."""
        if written >= len(self._times):
            return None
        over_at = bisect_left(self._times, self._times[written] + TTL, lo=written)
        return over_at if over_at < len(self._times) else None


TIMED_CHECKS: Mapping[str, Callable[[Observed], Iterable[str]]] = {
    "windows": windows_close_once,
    "joins": joins_pair_once,
    "deduplication": duplicates_are_dropped,
    "expiry": entries_expire,
}


def _of(observed: Observed, topic: str, partition: int) -> Log:
    return observed.outputs[topic].get(partition, Log())


def _logged(observed: Observed, table: str, cut: Cut | None) -> dict[str, bytes]:
    """What the changelog of a table says, at a cut or now."""
    found: dict[str, bytes] = {}
    for partition, log in observed.changelogs.get(table, {}).items():
        found |= newest(log, None if cut is None else cut.ends.get((f"changelog:{table}", partition), 0))
    return found


def _same(what: str, right: Iterable[int], came: Iterable[int]) -> Iterator[str]:
    expected, found = Counter(right), Counter(came)
    if lost := sorted((expected - found).elements()):
        yield f"{what}: {len(lost)} of {expected.total()} are missing, ids {lost[:NAMED_MAX]}"
    if extra := sorted((found - expected).elements()):
        yield f"{what}: {len(extra)} are too many, ids {extra[:NAMED_MAX]}"
