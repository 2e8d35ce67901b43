"""A join of tables by a foreign key on real Kafka, whose two sides have other partition counts, over kill -9."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec

from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Feed, Reader
from tests.process.waiting import eventually

KEYS, CHANGES = 300, 2000


class Shop:
    """Random changes of accounts and owners, and what they come to."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.accounts: dict[str, list[Any]] = {}
        self.owners: dict[str, int] = {}

    def account_rows(self, count: int) -> Iterator[Row]:
        """Changes of the left table."""
        for number in range(count):
            key = f"a{self._random.randrange(KEYS)}"
            if self._random.random() < 0.1:
                self.accounts.pop(key, None)
                yield Row(key, None)
                continue
            self.accounts[key] = [number, f"o{self._random.randrange(KEYS // 3)}"]
            yield Row(key, msgspec.json.encode(dict(zip(("number", "owner"), self.accounts[key], strict=True))))

    def owner_rows(self, count: int) -> Iterator[Row]:
        """Changes of the right table."""
        for number in range(count):
            key = f"o{self._random.randrange(KEYS // 3)}"
            if self._random.random() < 0.1:
                self.owners.pop(key, None)
                yield Row(key, None)
                continue
            self.owners[key] = number
            yield Row(key, b"%d" % number)

    def enriched(self) -> dict[str, list[Any]]:
        """What the left join of both holds."""
        return {key: [*row, self.owners.get(row[1])] for key, row in self.accounts.items()}


def test_a_foreign_key_join_is_right_over_kill_9(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str, bootstrap: str, reader: Reader
) -> None:
    """Workers are killed in the middle of it: rows and changes are those of both."""
    for name, partitions in (("accounts", 2), ("owners", 3), ("told", 2)):
        make_topic(f"{topic_prefix}{name}", partitions)
    shop = Shop(18)
    rows = {"accounts": [*shop.account_rows(CHANGES)], "owners": [*shop.owner_rows(CHANGES // 3)]}
    run = running("tests.process.joined_table_apps:joined")
    run.start(workers=2)
    run.until_running()
    feeds = {name: Feed(bootstrap, topic_prefix + name, iter(those), rate=400) for name, those in rows.items()}
    for feed in feeds.values():
        feed.start()
    told = f"{topic_prefix}told"
    for slot, count in ((0, KEYS // 5), (1, KEYS // 2)):
        # Each key that there is in the end is told once at least.
        eventually(partial(is_more, reader, told, count), 60, "changes are told", run.log_end)
        os.kill(run.pid_of(slot), signal.SIGKILL)
    eventually(lambda: all(len(feeds[name].acked) == len(those) for name, those in rows.items()), 60, "all is sent")
    for feed in feeds.values():
        feed.stop()
    want = shop.enriched()
    eventually(lambda: held(run.table("enriched")) == want, 90, "the rows are those of both", told=run.log_end)
    eventually(lambda: last(told_of(reader, told)) == want, 60, "all changes are told", told=run.log_end)
    for key, values in told_of(reader, told).items():
        # A commit tells the newest: of an owner that came and went within one, that there is none, again.
        again = [after for before, after in pairwise(values) if before == after]
        assert all(value is None or value[2] is None for value in again), f"{key} is told twice: {again}"
        accounts = [value[0] for value in values if value is not None]
        assert accounts == sorted(accounts), f"the changes of {key} are not told in their order"
    shown = run.cli("table", "enriched", next(iter(want)))
    assert shown.returncode == 0, shown.stderr
    assert run.drain() == 0, run.log_end()


def test_later_joins_have_all_rows(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str, bootstrap: str, reader: Reader
) -> None:
    """They read the changelogs from the beginning, and the agent that has read these already is given nothing twice."""
    for name in ("accounts", "owners", "told", "asked", "found"):
        make_topic(f"{topic_prefix}{name}", 2)
    told, found = f"{topic_prefix}told", f"{topic_prefix}found"
    rows = {
        "accounts": [Row(f"k{number}", b'"K%d"' % (number // 2)) for number in range(40)],
        "owners": [Row(f"k{number}", b"%d" % number) for number in range(0, 40, 3)],
    }
    run = running("tests.process.late_join_apps_before:late")
    run.start(workers=1)
    run.until_running()
    send_all(bootstrap, topic_prefix, rows)
    eventually(partial(is_more, reader, told, 39), 60, "all changes are told", run.log_end)
    eventually(lambda: len(run.table("owners")) == 14, 30, "the owners are there", run.log_end)
    assert run.drain() == 0, run.log_end()
    run = running("tests.process.late_join_apps:late")
    run.start(workers=2)
    run.until_running()
    send_all(bootstrap, topic_prefix, {"accounts": [Row("k1", b'"K3"')]})
    send_all(bootstrap, topic_prefix, {"asked": [Row(f"k{number}", b'"?"') for number in range(40)]})
    owners = {f"k{number}": number for number in range(0, 40, 3)}
    accounts = {f"k{number}": f"K{number // 2}" for number in range(40)} | {"k1": "K3"}
    equal = {key: [value, owners.get(key)] for key, value in accounts.items()}
    named = {key: [value, owners.get(value.lower())] for key, value in accounts.items()}
    eventually(lambda: run.table("equal") == equal, 60, "rows of equal keys are all there", run.log_end)
    eventually(lambda: run.table("named") == named, 60, "rows of foreign keys are all there", run.log_end)
    eventually(partial(is_more, reader, told, 40), 30, "the new change is told", run.log_end)
    as_they_were = {key: [str(owners.get(key))] for key in equal}
    eventually(lambda: told_of(reader, found) == as_they_were, 60, "versions of before are found", run.log_end)
    os.kill(run.pid_of(0), signal.SIGKILL)
    send_all(bootstrap, topic_prefix, {"accounts": [Row("k2", b'"K6"'), Row("k3", b'"K6"')]})
    eventually(partial(is_more, reader, told, 42), 60, "the last changes are told", run.log_end)
    eventually(lambda: run.table("named")["k3"] == ["K6", 6], 60, "they are joined", run.log_end)
    assert run.drain() == 0, run.log_end()
    assert sum(map(len, told_of(reader, told).values())) == 43, "a change is told twice"


def send_all(bootstrap: str, prefix: str, rows: dict[str, list[Row]]) -> None:
    """Send these rows, and wait until they are there."""
    feeds = [Feed(bootstrap, prefix + name, iter(those), rate=400) for name, those in rows.items()]
    for feed in feeds:
        feed.start()
    for feed, those in zip(feeds, rows.values(), strict=True):
        eventually(partial(all_sent, feed, those), 60, "all is sent")
        feed.stop()


def all_sent(feed: Feed, rows: list[Row]) -> bool:
    """Kafka has all of these rows."""
    return len(feed.acked) == len(rows)


def is_more(reader: Reader, topic: str, count: int) -> bool:
    """The topic has more records than that."""
    return reader.count(topic) > count


def held(rows: dict[str, Any]) -> dict[str, list[Any]]:
    """The rows of the table, as the model has them."""
    return {key: [account["number"], account["owner"], owner] for key, (account, owner) in rows.items()}


def told_of(reader: Reader, topic: str) -> dict[str, list[Any]]:
    """What was told of each key, in order."""
    found: dict[str, list[Any]] = {}
    for rows in reader.rows(topic).values():
        for row in rows:
            found.setdefault(row.key, []).append(None if row.value is None else msgspec.json.decode(row.value))
    return found


def last(told: dict[str, list[Any]]) -> dict[str, Any]:
    """Of those that are there in the end."""
    return {key: values[-1] for key, values in told.items() if values[-1] is not None}
