"""Dead letters: the record that a failing or undecodable one becomes. Pure."""

from __future__ import annotations

import traceback
from typing import Any

from ..current import KafkaRecord
from ..ids import TP

TRACEBACK_CHARS_MAX = 8000


def dead_letter(tp: TP, record: KafkaRecord, *, agent: str, error: Exception, reason: str) -> dict[str, Any]:
    """The output record: original key, value and headers, and headers that say where it came from and why."""
    trace = "".join(traceback.format_exception(error))
    headers: list[tuple[str, bytes]] = [
        *(record.headers() or ()),
        ("dead-letter-topic", tp.topic.encode()),
        ("dead-letter-partition", str(tp.partition).encode()),
        ("dead-letter-offset", str(record.offset()).encode()),
        ("dead-letter-agent", agent.encode()),
        ("dead-letter-error", reason.encode(errors="replace")),
        ("dead-letter-traceback", trace[-TRACEBACK_CHARS_MAX:].encode(errors="replace")),
    ]
    return {"key": record.key(), "value": record.value(), "headers": headers}
