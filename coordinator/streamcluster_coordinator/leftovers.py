"""What earlier versions of the app left behind: internal topics and positions that no declaration names any more.

An agent with group_by that was renamed reads another topic, and what waits in the old one is read by nobody; a table
that was renamed is empty. Nothing is deleted; the operator says what is meant. Pure: others ask the brokers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal

import msgspec

from streamcluster.topology import Topology

from .records.snapshot import Snapshot

_REPARTITION = "-repartition"
# How the names of tables end that the app makes beside those and agents that it declares.
_BESIDE = re.compile(
    r"(?P<of>.+)-(time|ttl|history|panes|next|over|sides|right-rows|suppressed-held|(join|deduplicate)(-\d+)?)"
)


class Leftover(msgspec.Struct, frozen=True):
    """One topic. records: how many wait in it, or stand for entries of a table; exact: False: it is at most so many.

    owner: the agent that read it, or the table, by its old name; "" when that is not known.
    """

    topic: str
    kind: Literal["repartition", "changelog", "source"]
    owner: str
    records: int
    exact: bool = True


def suspects(topology: Topology, there: AbstractSet[str], last: Snapshot | None) -> tuple[set[str], dict[str, str]]:
    """Topics that the last version read and this one does not, and changelogs of tables that are gone, by topic.

    Args:
        topology: what the app declares now.
        there: the topics that the brokers have.
        last: what the app did last; None: it never ran.
    """
    if last is None:
        return set(), {}
    own = {topic.name for topic in topology.topics if topic.role != "output"} | set(last.left)
    # A changelog that is read as well is what a table was made of.
    gone = there - own - last.shape.sources.keys()
    tables = {log: table for table, (log, _) in last.shape.tables.items() if log in gone}
    return (last.shape.sources.keys() & there) - own, tables


def kind_of(topic: str) -> Literal["repartition", "source"]:
    """What a topic that was read is, by its name."""
    return "repartition" if topic.endswith(_REPARTITION) else "source"


def agent_of(topic: str, sources: Iterable[str]) -> str:
    """The agent that wrote a repartition topic: `AGENT-SOURCE-KEY-repartition`; "": the name does not say it."""
    for source in sorted(sources, key=len, reverse=True):
        agent, between, rest = topic.partition(f"-{source}-")
        if between and agent and rest:
            return agent
    return ""


def unknown(topology: Topology, last: Snapshot | None) -> list[str]:
    """Topics between the app's own agents that it has not had before. last: what it did last; None: it never ran."""
    known = set() if last is None else {*last.shape.sources, *last.left}
    return [
        topic.name
        for topic in topology.topics
        if topic.role == "repartition" and topic.purge and topic.name not in known
    ]


def taken(topics: Iterable[str], app_id: str) -> str:
    """Why the app does not start, when others have written to these topics before it."""
    names = ", ".join(topics)
    return (
        f"{app_id} does not start: {names} would be a topic of its own, behind group_by or a join, and has records "
        f"that {app_id} did not write. It is named by agent and source, so another app whose agent has the same name "
        "has it too, and each of the two would process what both send there. Give the agent another name, "
        "@app.agent(..., name=...); or, if nobody uses the topic any more, delete it."
    )


def texts(found: Iterable[Leftover], app_id: str) -> list[str]:
    """A line for each: what is left where, and what to do about it."""
    return [_text(one, app_id) for one in found]


def _text(one: Leftover, app_id: str) -> str:
    count = f"{one.records:,} {'record' if one.records == 1 else 'records'}"
    count = count if one.exact else f"up to {count}"
    match one.kind:
        case "repartition":
            agent = f"agent {one.owner!r}" if one.owner else "an agent"
            keep = f"name={one.owner!r}" if one.owner else "the name= that the topic's name begins with"
            return (
                f"topic {one.topic!r} has {count} that {agent} forwarded with group_by, and nobody reads it any more. "
                f"If the agent was renamed, keep its old name until they are processed: @app.agent(..., {keep})"
            )
        case "changelog" if (beside := _BESIDE.fullmatch(one.owner)) is not None:
            return (
                f"topic {one.topic!r} has {count} of {one.owner!r}, kept for {beside['of']!r} by its windows, "
                "its join, ttl= or the like, and which nothing needs any more. If that was not meant, have it as it "
                "was: with its old name, and with an agent that writes it"
            )
        case "changelog":
            return (
                f"topic {one.topic!r} has {count} of table {one.owner!r}, which the app has not any more. If the table "
                f"was renamed, it begins empty: app.Table({one.owner!r}) has its entries"
            )
        case "source":
            return (
                f"topic {one.topic!r} has {count} behind the position of {app_id}, and no agent reads it any more. If "
                "an agent is to go on there, let it read this topic"
            )


def refusal(found: Sequence[Leftover], app_id: str) -> str:
    """Why the app does not start, and the word that lets it; after the texts."""
    topics = ", ".join(one.topic for one in found)
    return (
        f"{app_id} does not start: an earlier version left records that no declaration names any more, in {topics} "
        "(see above). Bring the old name back, or start once with --leave to go on without them: nothing is deleted, "
        "and you are not asked again."
    )


def unread(position: int | None, begin: int, end: int, *, is_ours: bool) -> int:
    """How many offsets wait in a partition. is_ours: the app wrote what is there, so without a position all of it."""
    if position is None:
        return end - begin if is_ours else 0
    return max(0, end - max(position, begin))
