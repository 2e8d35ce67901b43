"""A history in which everything is as it must be, made by a small simulated app: the ground of the mutation tests.

It shares no fold with the checker: commits, rollbacks and markers are played through in time, partition by partition.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.ledger.generator import Dates, Wish, first_profiles, later_profiles, movements, payments
from tests.ledger.right_timed import TimedPlay, Write
from tests.ledger.values import (
    BAD_ORDER,
    GROUPED_PARTITIONS,
    OUTPUTS,
    PARTITIONS,
    RECENT,
    TABLES,
    Claim,
    CommitSeen,
    Cut,
    Letter,
    Log,
    Observed,
    Restored,
    Sight,
    StoreCopy,
    Usage,
    digest,
)
from tests.ledger.values_timed import END_AHEAD, TIMED_OUTPUTS
from tests.process.checker import Row

CLOCK_STEP = 0.05
# Of the timestamps, which go on faster, so that much is over before the end.
FIRST_DATE, DATE_STEP = 1_000_000.0, 0.15
FLOODING = "hang flooded 1 10"
# A share of the movements is refused, or does more than the others.
SPECIAL, SPECIALS = 0.15, ("bad value", BAD_ORDER, "hang sent 1", FLOODING)
# A payment for so many movements.
PAYMENTS = 0.6
Place = tuple[str, int]


@dataclass(slots=True)
class Play:
    """The simulated run. Every commit ends with one marker on each partition that was written to."""

    source: random.Random
    accounts: int
    ends: Counter[Place] = field(default_factory=Counter)
    logs: defaultdict[Place, Log] = field(default_factory=lambda: defaultdict(Log))
    dirty: set[Place] = field(default_factory=set)
    tables: dict[str, dict[str, str]] = field(default_factory=lambda: {name: {} for name in TABLES})
    # Table -> partition -> keys that the open commit has changed.
    changed: defaultdict[Place, dict[str, str | None]] = field(default_factory=lambda: defaultdict(dict))
    commits: defaultdict[Place, list[CommitSeen]] = field(default_factory=lambda: defaultdict(list))
    letters: list[Letter] = field(default_factory=list)
    timed: list[TimedPlay] = field(default_factory=list)

    def __post_init__(self) -> None:
        def writes(partition: int) -> Write:
            def write(topic: str, key: str, value: str | None, time: int) -> None:
                if topic.startswith("changelog:"):
                    self.put(topic.removeprefix("changelog:"), partition, key, value)
                else:
                    self.write(topic, partition, key, value, time=time)

            return write

        self.timed = [TimedPlay(writes(partition)) for partition in range(PARTITIONS)]

    def write(
        self,
        topic: str,
        partition: int,
        key: str,
        value: str | bytes | None,
        *,
        transactional: bool = True,
        time: int = 0,
    ) -> None:
        """Append one record."""
        place = (topic, partition)
        self.logs[place].add(self.ends[place], key, value.encode() if isinstance(value, str) else value, time)
        self.ends[place] += 1
        if transactional:
            self.dirty.add(place)

    def put(self, table: str, partition: int, key: str, value: str | None) -> None:
        """Set a row, or delete it; its changelog gets it at the commit, once per key. key: as JSON."""
        if value is None:
            self.tables[table].pop(key, None)
        else:
            self.tables[table][key] = value
        self.changed[table, partition][key] = value

    def refuse(self, agent: str, topic: str, partition: int, offset: int, row: Row) -> None:
        """The dead letter of a record."""
        assert row.value is not None
        id = json.loads(row.value)["id"]
        self.letters.append(Letter(self.ends["dead", 0], id, agent, topic, partition, offset, "told to"))
        self.write("dead", 0, row.key, row.value)

    def group(self, row: Row) -> None:
        """What agent `take_first` does with one movement before it is repartitioned."""
        assert row.value is not None
        order = json.loads(row.value)["order"]
        self.write("grouped", order % GROUPED_PARTITIONS, str(order), row.value)

    def post(self, partition: int, row: Row, *, by: int) -> None:
        """What agent `post` does with one movement."""
        assert row.value is not None
        movement = json.loads(row.value)
        if movement.get("do") == FLOODING:
            for number in range(10):
                self.write("flood", partition, row.key, json.dumps({"id": movement["id"], "count": number}))
        total = movement["amount"] + int(self.tables["sums"].get(json.dumps(row.key), "0"))
        self.put("sums", partition, json.dumps(row.key), str(total))
        window = f"{row.key}|{int(movement['at'] // 10) * 10}"
        count = 1 + int(self.tables["windows"].get(json.dumps(window), "0"))
        self.put("windows", partition, json.dumps(window), str(count))
        ids = json.loads(self.tables["recent"].get(json.dumps(row.key), "[]"))
        ids = [*ids, movement["id"]][-RECENT:]
        self.put("recent", partition, json.dumps(row.key), json.dumps(ids, separators=(",", ":")))
        profile_of = self.tables["profiles"].get(json.dumps(row.key), '"0 "')
        id = movement["id"]
        self.write("out1", partition, row.key, row.value)
        self.write("out3", partition, row.key, json.dumps({"id": id, "total": total, "at": movement["at"], "by": by}))
        self.write("out4", partition, row.key, json.dumps({"id": id, "window": window, "count": count}))
        version = int(json.loads(profile_of).split(" ")[0])
        self.write("out5", partition, row.key, json.dumps({"id": id, "version": version}))

    def take_first(self, partition: int, offset: int, row: Row) -> None:
        """What agent `take_first` does with one repartitioned movement."""
        key, value = row
        assert value is not None
        movement = json.loads(value)
        id = movement["id"]
        if key not in self.tables["orders"]:
            if movement.get("do") == BAD_ORDER:
                self.refuse("take_first", "grouped", partition, offset, row)
                return
            self.put("orders", partition, key, str(id))
            self.write("out2", partition, key, json.dumps({"id": id}))

    def commit(self) -> None:
        """What is over, changelogs, then a marker on everything that was written to."""
        for timed in self.timed:
            timed.before_commit()
        for (table, partition), rows in self.changed.items():
            for key, value in rows.items():
                self.write(f"changelog:{table}", partition, key, value)
        self.changed.clear()
        for place in sorted(self.dirty):
            self.ends[place] += 1
        self.dirty.clear()

    def commit_input(self, topic: str, partition: int) -> None:
        """Commit the end of what is in a topic."""
        end = self.logs[topic, partition].end()
        self.commits[topic, partition].append(CommitSeen(end, end))

    def of(self, topic: str, partitions: int) -> dict[int, Log]:
        """A topic's logs."""
        return {number: self.logs[topic, number] for number in range(partitions)}


class _Inputs:
    """What is sent, from one seed. The dates of all go on together."""

    def __init__(self, run: Play, seed: int) -> None:
        self._run = run
        clock, dates = iter(range(1_000_000)), itertools.count()
        self.wall: Callable[[], float] = lambda: FIRST_DATE + next(dates) * DATE_STEP
        self.wishes: deque[Wish] = deque()
        self.dates = Dates(f"in {seed}", self.wall), Dates(f"paid {seed}", self.wall)
        self.acked: dict[tuple[int, int], Row] = {}
        self.movements = movements(
            seed, run.accounts, lambda: next(clock) * CLOCK_STEP, wishes=self.wishes, dates=self.dates[0]
        )
        self._payments = payments(seed, run.accounts, self.dates[1])

    def name(self, row: Row) -> None:
        """A profile."""
        assert row.value is not None
        partition, at = _partition(row.key), round(self.wall() * 1000) + self.dates[0].ahead
        self._run.write("names", partition, row.key, row.value, transactional=False, time=at)
        self._run.put("profiles", partition, json.dumps(row.key), json.dumps(row.value.decode()))
        self._run.timed[partition].name(row.key, int(row.value.split(b" ", 1)[0]), at)

    def pay(self) -> int:
        """A payment. Returns its partition."""
        row = next(self._payments)
        assert row.value is not None
        self._run.write("paid", _partition(row.key), row.key, row.value, transactional=False)
        self._run.timed[_partition(row.key)].pay(row.key, row.value.decode())
        return _partition(row.key)

    def move(self, by: int) -> int:
        """A movement. Returns its partition."""
        run, row = self._run, next(self.movements)
        partition = _partition(row.key)
        offset = run.ends["in", partition]
        self.acked[partition, offset] = row
        assert row.value is not None
        run.write("in", partition, row.key, row.value, transactional=False)
        is_bad = json.loads(row.value).get("do") == "bad value"
        if is_bad:
            run.refuse("post", "in", partition, offset, row)
        else:
            run.post(partition, row, by=partition + by)
        run.timed[partition].move(row.key, row.value.decode(), is_bad=is_bad)
        run.group(row)
        return partition


def play(seed: int, steps: int, accounts: int) -> tuple[Play, dict[tuple[int, int], Row], Cut]:
    """Steps of some movements each, a commit after each; half of the way all is cut off, and other processes go on.

    The last records are from so far ahead that all before them is over.
    """
    run = Play(random.Random(seed), accounts)
    inputs = _Inputs(run, seed)
    specials = itertools.cycle(SPECIALS)
    updates = later_profiles(seed, accounts)
    for row in first_profiles(accounts):
        inputs.name(row)
    cut: Cut | None = None
    grouped_done: Counter[int] = Counter()
    for step in range(steps):
        for row in (next(updates) for _ in range(run.source.randrange(3))):
            inputs.name(row)
        for _ in range(run.source.randrange(1, 12)):
            if run.source.random() < SPECIAL:
                inputs.wishes.append(Wish(next(specials), run.source.randrange(accounts)))
            inputs.move(100 if step < steps // 2 else 200)
            if run.source.random() < PAYMENTS:
                inputs.pay()
        commit(run, grouped_done)
        if cut is None and step >= steps // 2 - 1:
            cut = cut_of(run, "the cut")
    assert cut is not None
    send_last(run, inputs, updates)
    # One commit has the time, another what is due by then, and one more what that makes due.
    for _ in range(3):
        commit(run, grouped_done)
    return run, inputs.acked, cut


def send_last(run: Play, inputs: _Inputs, updates: Iterator[Row]) -> None:
    """Records that end all others, in each partition that has accounts."""
    partitions = {_partition(f"account{number}") for number in range(run.accounts)}
    inputs.wishes.clear()
    for dates in inputs.dates:
        dates.ahead = END_AHEAD
    moved: set[int] = set()
    while moved != partitions:
        moved.add(inputs.move(200))
    paid: set[int] = set()
    while paid != partitions:
        paid.add(inputs.pay())
    named: set[int] = set()
    while named != partitions:
        row = next(updates)
        inputs.name(row)
        named.add(_partition(row.key))


def commit(run: Play, grouped_done: Counter[int]) -> None:
    """What was repartitioned is done, and everything is committed."""
    for partition in range(GROUPED_PARTITIONS):
        log = run.logs["grouped", partition]
        for index in range(grouped_done[partition], len(log)):
            run.take_first(partition, log.offsets[index], Row(log.keys[index], log.values[index]))
        grouped_done[partition] = len(log)
        run.commit_input("grouped", partition)
    for partition in range(PARTITIONS):
        for name in ("in", "names", "paid"):
            run.commit_input(name, partition)
    run.commit()


def cut_of(run: Play, name: str) -> Cut:
    """What counts now."""
    return Cut(name, {number: run.logs["in", number].end() for number in range(PARTITIONS)}, dict(run.ends))


def _partition(account: str) -> int:
    return int(account.removeprefix("account")) % PARTITIONS


def right_history(seed: int = 7, steps: int = 30, accounts: int = 12) -> Observed:
    """The whole of it, as the readers would hand it over."""
    run, acked, cut = play(seed, steps, accounts)
    outputs = {name: run.of(name, GROUPED_PARTITIONS if name == "out2" else PARTITIONS) for name in OUTPUTS}
    counts = {name: GROUPED_PARTITIONS if name == "orders" else PARTITIONS for name in TABLES}
    changelogs = {name: run.of(f"changelog:{name}", counts[name]) for name in TABLES}
    stores = [_store(name, number, log) for name, logs in changelogs.items() for number, log in logs.items()]
    # A copy that was left behind, as a standby or the host of another time has it.
    stores.append(_store("sums", 1, changelogs["sums"][1], records=5, host="two"))
    return Observed(
        acked=acked,
        inputs=run.of("in", PARTITIONS),
        names=run.of("names", PARTITIONS),
        paid=run.of("paid", PARTITIONS),
        grouped=run.of("grouped", GROUPED_PARTITIONS),
        outputs=outputs,
        letters=run.letters,
        letters_log=run.logs["dead", 0],
        changelogs=changelogs,
        tables=run.tables,
        stores=stores,
        cuts=[cut, cut_of(run, "the end")],
        sights={
            place: Sight(list(log.offsets), [digest(*row) for row in log.rows()])
            for place, log in run.logs.items()
            if place[0].startswith(("out", "flood", "grouped", "dead", "changelog")) or place[0] in TIMED_OUTPUTS
        },
        ends={place: (end, end) for place, end in run.ends.items()},
        claims=[Claim(1, 1, "first"), Claim(1, 1, "first"), Claim(2, 2, "second")],
        commits=dict(run.commits),
        usage={"worker 5": [Usage(float(at), 100_000_000 + at, 40) for at in range(100)]},
        faults=[(30.0, 33.0)],
        restores=[Restored("one", "4_1", 200, restored=12, tail_max=100)],
        caught_up_seconds=3.0,
        catch_up_seconds_max=60.0,
        exit_codes={"one": 0},
    )


def _store(table: str, partition: int, log: Log, records: int | None = None, host: str = "one") -> StoreCopy:
    behind = records is not None and records < len(log)
    done = log.rows()[:records]
    task = f"{GROUPED_PARTITIONS if table == 'orders' else PARTITIONS}_{partition}"
    end = log.offsets[records] if records is not None and behind else log.end()
    rows = {key.encode(): value for key, value in dict(done).items() if value is not None}
    return StoreCopy(host, task, partition, table, end, rows)
