"""TopicRows: the rows that records of a topic are, for a table whose changelog is the topic that it is made of.

    live       record --- the agent of table_sources.py ---> row, committed with the agent's position in the topic
    restored   record --- TopicRows ---> the same row, up to that position and no further

A topic is coded as its producers want it and a row as the table wants it, so what is restored is decoded and coded
anew. What the agent could not handle, and put aside, changed no row, and changes none here; nobody is told a second
time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..printable import repr_of
from ..settings import Settings
from ..topics import Topic
from ..topology import Topology
from ..topology.units import Plan
from .local_tables import row_coder
from .rows import RowCoder

logger = logging.getLogger("streamcluster.restore")


@dataclass(frozen=True, slots=True)
class TopicRows:
    """Of one table, for one thread. The topic is compiled."""

    topic: Topic
    coder: RowCoder

    def rows_of(self, keys: Iterable[bytes | None], values: Iterable[bytes | None]) -> list[tuple[bytes, bytes | None]]:
        """The rows of records, in order. None: it is deleted."""
        decode_key, decode_value = self.topic.coders.decode_key, self.topic.coders.decode_value
        coder = self.coder
        rows: list[tuple[bytes, bytes | None]] = []
        for key, data in zip(keys, values, strict=True):
            if key is None:
                continue
            try:
                value: Any = None if data is None else decode_value(data)
                row_key = coder.key_bytes(coder.identity(decode_key(key)))
                row = None if value is None else coder.encode(value)
            except Exception as error:  # noqa: BLE001 (codecs are user code)
                # Its agent has put the record aside, and said so.
                logger.debug("a record of %s is no row of table %r: %s", self.topic.name, coder.name, repr_of(error))
                continue
            rows.append((row_key, row))
        return rows


def topic_rows_of(plan: Plan, topology: Topology, settings: Settings) -> dict[str, TopicRows]:
    """For the tables whose changelog is their topic."""
    of_topics = {table.name for table in topology.tables if table.feeder}
    return {
        table.name: TopicRows(table.source, row_coder(table, settings))
        for table in plan.tables
        if table.name in of_topics and table.source is not None
    }
