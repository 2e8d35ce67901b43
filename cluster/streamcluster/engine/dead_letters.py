"""Dead letters: the record that a failing or undecodable one becomes. Pure."""

from __future__ import annotations

from ..batch import KafkaRecord
from ..errors import UnreadableHeaders
from ..headers import HEADERS_MAX, headers_size, pairs_of
from ..ids import TP
from ..output import OutputRecord, Pairs, output_of
from ..printable import traceback_of

TRACEBACK_CHARS_MAX = 8000
# As bytes_max: nothing of the record, and little of the reason.
BARE = 0
BARE_CHARS_MAX = 200


def dead_letter(
    tp: TP, record: KafkaRecord, *, agent: str, error: BaseException, reason: str, bytes_max: int
) -> OutputRecord:
    """The output record: original key, value and headers, and headers that say where it came from and why.

    Its own time is that of the failure, so that no retention takes it for old; the record's is in a header.

    bytes_max: of a letter. What does not fit is left out and named in a header: first the value, then the headers, then
    the key. So are headers that cannot be read. The record itself is still where the letter says that it is.
    """
    trace = traceback_of(error, TRACEBACK_CHARS_MAX if bytes_max else BARE_CHARS_MAX)
    reason = reason if bytes_max else reason[:BARE_CHARS_MAX]
    why: Pairs = [
        ("dead-letter-topic", tp.topic.encode()),
        ("dead-letter-partition", str(tp.partition).encode()),
        ("dead-letter-offset", str(record.offset).encode()),
        ("dead-letter-timestamp", str(record.timestamp).encode()),
        ("dead-letter-agent", agent.encode()),
        ("dead-letter-error", reason.encode(errors="replace")),
        ("dead-letter-traceback", trace.encode(errors="replace")),
    ]
    left_out: list[str] = []
    key, value = record.key, record.value
    if record.why is not None:
        left_out.append("key, value, headers (they cannot be unpacked)")
    try:
        headers = pairs_of(record.headers) or []
    except UnreadableHeaders:
        left_out.append("headers (they cannot be read)")
        headers = []
    room = bytes_max - headers_size(why)
    if len(key or b"") + len(value or b"") + headers_size(headers) > room:
        left_out.append(f"value ({len(value or b'')} bytes)")
        value = None
    # With the reasons, and a name for what is left out.
    if len(key or b"") + headers_size(headers) > room or len(headers) + len(why) >= HEADERS_MAX:
        left_out.append(f"headers ({len(headers)} with {headers_size(headers)} bytes)")
        headers = []
    if len(key or b"") > room:
        left_out.append(f"key ({len(key or b'')} bytes)")
        key = None
    if left_out:
        why.append(("dead-letter-left-out", ", ".join(left_out).encode()))
    return output_of(key, value, headers=[*headers, *why])
