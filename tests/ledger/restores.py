"""From what statuses showed: every start of a task at a place where its store was, and how much it replayed. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tests.ledger.values import TABLES_OF, Damage, Restored
from tests.ledger.watching import Look, Owner, Positions

# A store may be behind by the commit that was being answered when its process went, which the reader that tells
# positions saw within so many seconds; and that reader may come to the end of a restore so much later.
BEFORE_SECONDS, AFTER_SECONDS = 5.0, 2.0
# A commit of the moment, and markers.
SLACK_RECORDS = 1_000


@dataclass(slots=True)
class _Stay:
    """A task in one process, from its opening until it ran there no more.

    missing_since: when an earlier stay here was over at the latest; None: there was no store. restored_at: the first
    look at which it ran. over_at: the first one after that at which it did not.
    """

    pid: int
    missing_since: float | None
    restored_at: float
    restored: int = 0
    ran: bool = False
    over_at: float | None = None


def restores_of(
    looks: Sequence[Look], positions: Mapping[tuple[str, int], Positions], damages: Sequence[Damage] = ()
) -> list[Restored]:
    """Every such start.

    Args:
        looks: of all hosts, by time.
        positions: of each changelog and partition.
        damages: each excuses one restore of its store, and those before it that did not come to their end.
    """
    found: list[Restored] = []
    open_damages = list(damages)
    for one in sorted(_starts(looks, positions), key=lambda start: start.at):
        excuses = [it for it in open_damages if (it.host, it.task) == (one.host, one.task) and it.at <= one.at]
        is_excused = bool(excuses) and one.restored > one.tail_max
        found.append(replace(one, is_excused=is_excused))
        if is_excused and one.ran:
            open_damages = [it for it in open_damages if it not in excuses]
    return found


def _starts(looks: Sequence[Look], positions: Mapping[tuple[str, int], Positions]) -> list[Restored]:
    found: list[Restored] = []
    stays: dict[tuple[str, str], _Stay] = {}
    for look in looks:
        running = {task for task, owner in look.owners.items() if owner.state in ("running", "failing")}
        for (host, task), stay in stays.items():
            if host == look.host and stay.ran and task not in running and stay.over_at is None:
                stay.over_at = look.at
        for task, owner in look.owners.items():
            # A host knows others' tasks from their reports, which are older than their own word.
            if owner.pid is None or owner.host not in ("", look.host):
                continue
            before = stays.get((look.host, task))
            opened_again = before is not None and before.ran and _is_opened_again(before, owner)
            if before is None or before.pid != owner.pid or opened_again:
                if before is not None and before.missing_since is not None:
                    found.append(_restored(look.host, task, before, positions))
                stays[look.host, task] = _Stay(owner.pid, _missing_since(before, look.at), look.at)
            stay = stays[look.host, task]
            stay.restored = owner.restored
            if not stay.ran:
                stay.restored_at = look.at
            if task in running:
                stay.ran, stay.over_at = True, None
    found += [
        _restored(host, task, stay, positions) for (host, task), stay in stays.items() if stay.missing_since is not None
    ]
    return found


def _is_opened_again(stay: _Stay, owner: Owner) -> bool:
    """In the same process: its connections were lost. Between two looks only the number of records may show it."""
    return owner.state == "restoring" or owner.restored != stay.restored


def _missing_since(before: _Stay | None, now: float) -> float | None:
    """A predecessor that never ran has not brought the store to its end; what was missing then still is."""
    if before is None or not before.ran:
        return None if before is None else before.missing_since
    return now if before.over_at is None else before.over_at


def _restored(host: str, task: str, stay: _Stay, positions: Mapping[tuple[str, int], Positions]) -> Restored:
    group, _, partition = task.partition("_")
    tables = TABLES_OF[group]
    logs = [positions.get((f"changelog:{table}", int(partition)), Positions()) for table in tables]
    assert stay.missing_since is not None
    tail = sum(_end_at(log, stay.restored_at) - _stored_at(log, stay.missing_since) for log in logs)
    return Restored(host, task, stay.pid, stay.restored, tail + SLACK_RECORDS, stay.restored_at, stay.ran)


def _stored_at(log: Positions, moment: float) -> int:
    """Where a store was at least at a moment, of a process that lived then: the last commit may not be in it."""
    index = bisect_right(log.times, moment)
    return log.at(log.times[index - 1] - BEFORE_SECONDS) if index else 0


def _end_at(log: Positions, moment: float) -> int:
    """Where the log ended at most at a moment.

    What was aborted counts, since a restore reads past it; it is known of from the next record that is committed.
    """
    index = bisect_right(log.times, moment)
    following = log.offsets[index] if index < len(log.times) else 0
    return max(following, log.at(moment + AFTER_SECONDS))
