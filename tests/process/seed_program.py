"""The seed program as its tests use it: what goes in, and everything that is to be judged read back afterwards.

The app is `ledger` in apps.py, the judge is checker.py.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from tests.process.checker import Observed, Row, entry
from tests.process.records import Feed, Reader
from tests.process.running import Running
from tests.process.waiting import eventually

PARTITIONS = 4
ACCOUNTS = 500
OUTPUTS = ("echo", "sums", "counts")


def movements(seed: int) -> Iterator[Row]:
    """Numbered movements on random accounts, without an end."""
    source = random.Random(seed)
    for number in itertools.count():
        yield entry(number, f"account{source.randrange(ACCOUNTS)}", source.randrange(1, 100))


def observe(run: Running, reader: Reader, prefix: str, feed: Feed) -> Observed:
    """Read everything back. The app still runs, for its tables; then it is drained."""
    tables = {name: run.table(name) for name in ("sums", "counts")}
    code = run.drain()
    assert code == 0, run.log_end()
    logs = {name: f"{run.app_id}-{name}-changelog" for name in ("sums", "counts")}
    every = [f"{prefix}{name}" for name in ("in", *OUTPUTS)] + list(logs.values())
    eventually(lambda: all(reader.is_settled(topic) for topic in every), 30, "every transaction has ended")
    return Observed(
        acked=feed.acked,
        inputs=reader.rows(f"{prefix}in"),
        echoes=reader.rows(f"{prefix}echo"),
        sums=reader.rows(f"{prefix}sums"),
        counts=reader.rows(f"{prefix}counts"),
        tables=tables,
        changelogs={name: unquoted(reader.rows(topic)) for name, topic in logs.items()},
        ends=reader.ends(every),
    )


def unquoted(rows: dict[int, list[Row]]) -> dict[int, list[Row]]:
    """Rows of a changelog, whose keys are JSON text, with plain keys."""
    return {partition: [Row(row.key.strip('"'), row.value) for row in part] for partition, part in rows.items()}
