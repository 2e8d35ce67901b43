"""The checks of how the app ran: who owned what, whether it went on, and how much it read again. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from tests.ledger.folds import movements_of, posted_of
from tests.ledger.values import Claim, Log, Observed, Usage

# After a start or a fault: caches are being filled, and what piled up is being worked off.
WARM_UP_SECONDS = 20.0
# Between the first and the last third of a stretch without faults. A fault leaves buffers larger, up to their bounds
# (settings.py); these are far below what a leak of one record in ten would add in minutes.
GROWTH_MAX = 0.1
RSS_SLACK_BYTES = 32 * 1024 * 1024
# Each family of a store gathers up to four files before they become one, and a worker has more than a hundred families.
DESCRIPTORS_SLACK = 64
SAMPLES_MIN = 9
# At any time. The bounded buffers of a worker are 0.4 GB, and Python's own objects for what is in them come on top.
RSS_MAX_BYTES = 1_000_000_000
# Each of a task's tables has a few files of its own, and the log of what is not in them yet.
DESCRIPTORS_MAX = 700


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
    for topic, logs in (
        ("in", observed.inputs),
        ("names", observed.names),
        ("paid", observed.paid),
        ("grouped", observed.grouped),
    ):
        for partition, log in sorted(logs.items()):
            commits = observed.commits.get((topic, partition), ())
            last = commits[-1].offset if commits else 0
            if last < log.end():
                yield f"{topic}[{partition}]: committed up to {last} at the end, of {log.end()}"
    for process, stretch in calm_stretches(observed.usage, observed.faults):
        yield from _is_flat(process, stretch)
    for process, usage in sorted(observed.usage.items()):
        rss, descriptors = max(one.rss_bytes for one in usage), max(one.descriptors for one in usage)
        if rss > RSS_MAX_BYTES or descriptors > DESCRIPTORS_MAX:
            yield f"{process}: it had {rss / 1e6:.0f} MB of memory, or {descriptors} descriptors"


def calm_stretches(
    usage: Mapping[str, Sequence[Usage]], faults: Sequence[tuple[float, float]]
) -> Iterator[tuple[str, list[Usage]]]:
    """Process -> what it used while nothing happened, of each such stretch that is long enough.

    faults: (begin, end) of each.
    """
    for process, samples in sorted(usage.items()):
        disturbances = sorted([(samples[0].at, samples[0].at), *faults])
        calm_from = -math.inf
        for begin, end in [*disturbances, (math.inf, math.inf)]:
            stretch = [one for one in samples if calm_from <= one.at < begin]
            if len(stretch) >= SAMPLES_MIN:
                yield process, stretch
            calm_from = max(calm_from, end + WARM_UP_SECONDS)


def _is_flat(process: str, samples: Sequence[Usage]) -> Iterator[str]:
    third = len(samples) // 3
    for what, unit, slack, values in (
        ("memory", 1e6, RSS_SLACK_BYTES, [one.rss_bytes for one in samples]),
        ("descriptors", 1, DESCRIPTORS_SLACK, [one.descriptors for one in samples]),
    ):
        first, last = statistics.median(values[:third]), statistics.median(values[-third:])
        if last > first * (1 + GROWTH_MAX) + slack:
            yield f"{process}: {what} grew from {first / unit:.0f} to {last / unit:.0f} in {len(samples)} samples"


def no_needless_restore(observed: Observed) -> Iterator[str]:
    """10. A task whose store survived undamaged replays no more than what came after its last sight there."""
    if not observed.restores:
        yield "no task was seen to start where its store was, so this check would say nothing"
    for one in observed.restores:
        if one.restored > one.tail_max and not one.is_excused:
            yield (
                f"task {one.task} on {one.host}, process {one.pid}: {one.restored} records were restored, and at most "
                f"{one.tail_max} were missing in its store"
            )
