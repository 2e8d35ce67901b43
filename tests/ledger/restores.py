"""From what statuses showed: every start of a task at a place where its store was, and how much it replayed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.ledger.values import GROUPED_PARTITIONS, TABLES, Restored
from tests.ledger.watching import Look

# Before the last sight of the old process, whose store may have been behind by one commit, and after the last one of
# the new one's restore, to which the reader that tells positions may not have come yet.
BEFORE_SECONDS, AFTER_SECONDS = 5.0, 2.0
# A commit of the moment, and markers.
SLACK_RECORDS = 1_000


@dataclass(slots=True)
class _Episode:
    """One process with one task. gone_at: until when its predecessor was seen at most."""

    pid: int
    gone_at: float | None
    last_at: float
    restored: int = 0
    ran: bool = False


def restores_of(looks: Sequence[Look], position: Callable[[str, int, float], int]) -> list[Restored]:
    """Every such start, in the order of its end.

    Args:
        looks: of all hosts, by time.
        position: (changelog, partition, moment) -> the newest offset that was committed then.
    """
    found: list[Restored] = []
    episodes: dict[tuple[str, str], _Episode] = {}
    for look in looks:
        for task, owner in look.owners.items():
            # A host knows others' tasks from their reports, which are older than their own word.
            if owner.pid is None or owner.host not in ("", look.host):
                continue
            before = episodes.get((look.host, task))
            if before is None or before.pid != owner.pid:
                if before is not None and before.gone_at is not None:
                    found.append(_restored(look.host, task, before, position))
                # A predecessor that never ran has not brought the store to its end; what was missing then still is.
                gone_at = None if before is None else look.at if before.ran else before.gone_at
                episodes[look.host, task] = _Episode(owner.pid, gone_at, look.at)
            episode = episodes[look.host, task]
            episode.restored = max(episode.restored, owner.restored)
            if not episode.ran:
                episode.last_at = look.at
            episode.ran = episode.ran or owner.state == "running"
    found += [
        _restored(host, task, episode, position)
        for (host, task), episode in episodes.items()
        if episode.gone_at is not None
    ]
    return found


def _restored(host: str, task: str, episode: _Episode, position: Callable[[str, int, float], int]) -> Restored:
    group, _, partition = task.partition("_")
    tables = [name for name in TABLES if (name == "orders") == (int(group) == GROUPED_PARTITIONS)]
    assert episode.gone_at is not None
    begin, end = episode.gone_at - BEFORE_SECONDS, episode.last_at + AFTER_SECONDS
    tail = sum(
        position(f"changelog:{table}", int(partition), end) - position(f"changelog:{table}", int(partition), begin)
        for table in tables
    )
    return Restored(host, task, episode.pid, episode.restored, tail + SLACK_RECORDS)
