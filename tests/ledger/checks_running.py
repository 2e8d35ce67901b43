"""The checks of how the app ran: who owned what, whether it went on, and how much it read again. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.ledger.folds import movements_of, posted_of
from tests.ledger.values import Claim, Log, Observed, Usage

# A process younger than this is still filling its caches.
WARM_UP_SECONDS = 20.0
# Between the first and the last third of what was measured after that. Caches of RocksDB and buffers of librdkafka
# are bounded (settings.py); these are far below what a leak of one record in ten would add in minutes.
GROWTH_MAX = 0.5
RSS_SLACK_BYTES = 64 * 1024 * 1024
DESCRIPTORS_SLACK = 32
SAMPLES_MIN = 9


def single_owner(observed: Observed) -> Iterator[str]:
    """8. Claims of the control topic grow, commits never overlap, and each committed range is one process's work."""
    yield from _claims_grow(observed.claims)
    for (topic, partition), commits in sorted(observed.commits.items()):
        for before, after in pairwise(commits):
            if after.offset < before.offset or after.posted < before.posted:
                yield f"{topic}[{partition}]: a commit up to {after} came after one up to {before}"
                break
    for partition, log in sorted(observed.inputs.items()):
        yield from _ranges_have_one_writer(observed, partition, log)


def _claims_grow(claims: Sequence[Claim]) -> Iterator[str]:
    if not claims:
        yield "the control topic has no claim, so this check would say nothing"
    leaders: dict[int, str] = {}
    for claim in claims:
        # A leader that leaves says so with a record of its own term that names none.
        if claim.instance and leaders.setdefault(claim.term, claim.instance) != claim.instance:
            yield f"term {claim.term} has two leaders, {leaders[claim.term]} and {claim.instance}"
    for before, after in pairwise(claims):
        if (after.term, after.epoch) < (before.term, before.epoch):
            yield f"the control topic goes back from {before} to {after}"
        elif after.strict and after.epoch <= before.epoch:
            yield f"epoch {after.epoch} is written twice, by {before.instance} and {after.instance}"


def _ranges_have_one_writer(observed: Observed, partition: int, log: Log) -> Iterator[str]:
    commits = observed.commits.get(("in", partition), ())
    if log.offsets and not commits:
        yield f"in[{partition}]: its commits are not in the history of the group, so this check would say nothing"
        return
    output = observed.outputs["out3"].get(partition, Log())
    writer_of = {posted.id: posted.by for posted in posted_of(output)}
    ids = [movement.id for movement in movements_of(log)]
    ends = [0, *(commit.posted for commit in commits)]
    for begin, end in pairwise(ends):
        owned = ids[log.count_before(begin) : log.count_before(end)]
        writers = {writer_of[id] for id in owned if id in writer_of}
        if len(writers) > 1:
            yield f"in[{partition}]: the commit of {begin} to {end} holds results of processes {sorted(writers)}"
            return


def is_live(observed: Observed) -> Iterator[str]:
    """9. After the faults it reached the end in time and ended in order; memory and descriptors do not grow."""
    seconds, most = observed.caught_up_seconds, observed.catch_up_seconds_max
    if seconds is None or seconds > most:
        yield f"it had not caught up within {most:.0f} s after the last fault"
    for host, code in sorted(observed.exit_codes.items()):
        if code != 0:
            yield f"{host} ended with {code} when it was asked to drain"
    for topic, logs in (("in", observed.inputs), ("names", observed.names), ("grouped", observed.grouped)):
        for partition, log in sorted(logs.items()):
            commits = observed.commits.get((topic, partition), ())
            last = commits[-1].offset if commits else 0
            if last < log.end():
                yield f"{topic}[{partition}]: committed up to {last} at the end, of {log.end()}"
    for process, usage in sorted(observed.usage.items()):
        yield from _is_flat(process, usage)


def _is_flat(process: str, usage: Sequence[Usage]) -> Iterator[str]:
    warm = [one for one in usage if one.at >= usage[0].at + WARM_UP_SECONDS]
    if len(warm) < SAMPLES_MIN:
        return
    third = len(warm) // 3
    for what, unit, slack, samples in (
        ("memory", 1e6, RSS_SLACK_BYTES, [one.rss_bytes for one in warm]),
        ("descriptors", 1, DESCRIPTORS_SLACK, [one.descriptors for one in warm]),
    ):
        first, last = statistics.median(samples[:third]), statistics.median(samples[-third:])
        if last > first * (1 + GROWTH_MAX) + slack:
            yield f"{process}: {what} grew from {first / unit:.0f} to {last / unit:.0f} in {len(warm)} samples"


def no_needless_restore(observed: Observed) -> Iterator[str]:
    """10. A task whose store survived replays no more than what came after its last sight there."""
    for one in observed.restores:
        if one.restored > one.tail_max:
            yield (
                f"task {one.task} on {one.host}, process {one.pid}: {one.restored} records were restored, and at most "
                f"{one.tail_max} were missing in its store"
            )
