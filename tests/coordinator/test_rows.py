"""Reads of tables on several hosts: who is asked, who answers for an owner that is away, and what is said otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from streamcluster.ids import Slot, TaskId
from streamcluster.protocol.messages import ReadTable, Rows
from streamcluster_coordinator.answers import peer_port, rows_local
from streamcluster_coordinator.answers import rows as rows_module
from streamcluster_coordinator.answers.ownership import Ownership, Peer, peers_of
from streamcluster_coordinator.answers.rows import TableReader
from streamcluster_coordinator.records.status import GetRows, RowsAnswer
from tests.coordinator.fake_hosts import GROUP, TOPOLOGY, Cluster, Host, Worker, all_running, read

SECONDS = 30.0


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Troubles of these tests stay, unless they are about those that pass. Nobody else is too slow."""
    monkeypatch.setattr(rows_module, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(rows_local, "LOCAL_SECONDS", SECONDS)
    monkeypatch.setattr(rows_module, "PEER_SECONDS", SECONDS)
    monkeypatch.setattr(rows_module, "ROWS_SECONDS", SECONDS)
    monkeypatch.setattr(peer_port, "HANDSHAKE_SECONDS", SECONDS)
    monkeypatch.setattr(peer_port, "REQUEST_SECONDS", SECONDS)


def key(cluster: Cluster, host: str, wanted: str) -> RowsAnswer:
    """One key, asked of one host."""
    return read(cluster, host, GetRows(table="counts", key=wanted))


def page(cluster: Cluster, host: str, after: str | None = None, rows_max: int = 100) -> RowsAnswer:
    """One page, asked of one host."""
    return read(cluster, host, GetRows(table="counts", after=after, rows_max=rows_max))


def three_hosts() -> Cluster:
    """a has 4_0 and 4_3 on two slots, b has 4_1 and 4_2 on one; c has no task and follows 4_1 and 4_0."""
    return {
        "a": Host({0: Worker(owns={0: ("a0", "b0")}), 1: Worker(owns={3: ("a3",)})}),
        "b": Host({2: Worker(owns={1: ("a1", "b1"), 2: ()})}),
        "c": Host({0: Worker(follows={0: ("a0",), 1: ("a1",)}, lag=7, value="old")}),
    }


@pytest.mark.parametrize("asked", ["a", "b", "c"])
@pytest.mark.parametrize(("wanted", "source"), [("a0", "a/0"), ("a3", "a/1"), ("b1", "b/2")])
def test_key_comes_from_its_owner_whichever_host_is_asked(asked: str, wanted: str, source: str) -> None:
    """The owner's answer, with the slot that it comes from and no lag."""
    assert key(three_hosts(), asked, wanted) == RowsAnswer(rows=((wanted, wanted),), source=source)


@pytest.mark.parametrize("asked", ["a", "b", "c"])
def test_key_that_nobody_has_is_an_answer(asked: str) -> None:
    """All shards were looked through: no rows, and no error."""
    assert key(three_hosts(), asked, "zz") == RowsAnswer()


def test_host_that_is_asked_by_another_asks_no_third_one() -> None:
    """Questions between hosts are about their own workers, so they end there."""
    cluster = three_hosts()

    key(cluster, "c", "zz")

    assert [request.local for host in cluster.values() for request in host.asked] == [True, True]
    assert cluster["c"].asked == []


def is_down(cluster: Cluster) -> None:
    """Nobody listens on b."""
    cluster["b"].up = False


def is_silent(cluster: Cluster) -> None:
    """b is taken for dead, and nothing is there to refuse a connection."""
    cluster["b"].away = "has said nothing for 4 s"


def has_no_port(cluster: Cluster) -> None:
    """b advertises nothing."""
    cluster["b"].port = False


def worker_is_gone(cluster: Cluster) -> None:
    """The worker on b is being replaced."""
    cluster["b"].workers[2].fault = "gone"


def worker_restores(cluster: Cluster) -> None:
    """The worker on b says that it cannot tell yet."""
    cluster["b"].workers[2].fault = "task 4_1 does not run yet"


def worker_is_silent(cluster: Cluster) -> None:
    """The worker on b is stalled."""
    cluster["b"].workers[2].fault = "silent"


def task_is_moving(cluster: Cluster) -> None:
    """b has released its tasks, and others do not know it yet."""
    cluster["b"].workers[2].owns = {}
    cluster["b"].imagined = (1, 2)


Trouble = Callable[[Cluster], None]
TROUBLES = [is_down, is_silent, has_no_port, worker_is_gone, worker_restores, worker_is_silent, task_is_moving]


def in_trouble(trouble: Trouble, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Three hosts with that trouble."""
    if trouble is worker_is_silent:
        # For the healthy ones, too.
        monkeypatch.setattr(rows_local, "LOCAL_SECONDS", 2)
    cluster = three_hosts()
    trouble(cluster)
    return cluster


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
@pytest.mark.parametrize("asked", ["a", "c"])
def test_standby_answers_when_the_owner_is_away(asked: str, trouble: Trouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its word is marked with where it comes from and how far it may be behind."""
    cluster = in_trouble(trouble, monkeypatch)

    assert key(cluster, asked, "a1") == RowsAnswer(rows=(("a1", "old"),), source="c/0", lag=7)


@pytest.mark.parametrize("asked", ["a", "c"])
def test_nearest_standby_is_believed(asked: str) -> None:
    """Of two copies, the one with the smaller lag, whether it is here or there."""
    cluster = three_hosts()
    cluster["a"].workers[0].follows = {1: ("a1",)}
    cluster["a"].workers[0].lag = 2
    is_down(cluster)

    assert key(cluster, asked, "a1") == RowsAnswer(rows=(("a1", "a1"),), source="a/0", lag=2)


def test_key_that_no_standby_has_is_marked_too() -> None:
    """When copies of all that is away were looked through, the key is not there, as of so many records ago."""
    cluster = three_hosts()
    cluster["c"].workers[0].follows = {1: ("a1",), 2: ()}
    is_down(cluster)

    assert key(cluster, "a", "zz") == RowsAnswer(source="c/0", lag=7)


@pytest.mark.parametrize(
    ("trouble", "text"),
    [
        (is_down, "host b: 127.0.0.1:{port} cannot be reached: Connection refused"),
        (is_silent, "host b has said nothing for 4 s"),
        (has_no_port, "host b has no --advertise address: run the command there, or start it with one"),
        (worker_is_gone, "worker b/2 is being replaced"),
        (worker_restores, "task 4_1 does not run yet"),
        (worker_is_silent, "worker b/2 did not answer within 2 s: it may be restoring, or stalled"),
        (task_is_moving, "no worker has task 4_2 at the moment"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_reason_is_said_when_nobody_can_answer(trouble: Trouble, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key may be in 4_2, which nobody follows: the error names the host or worker that did not answer, and why."""
    cluster = in_trouble(trouble, monkeypatch)

    answer = key(cluster, "a", "zz")

    assert answer.rows == ()
    before, _, after = text.partition("{port}")
    assert answer.error is not None
    assert answer.error.startswith(before)
    assert answer.error.endswith(after)


TEMPORARY = {is_silent, worker_is_gone, worker_restores, worker_is_silent, task_is_moving}


@pytest.mark.parametrize("ask", [lambda cluster: key(cluster, "a", "zz"), lambda cluster: page(cluster, "a")])
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_trouble_that_passes_is_marked(
    trouble: Trouble, ask: Callable[[Cluster], RowsAnswer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks may ask again; what somebody must mend first is not marked."""
    cluster = in_trouble(trouble, monkeypatch)

    answer = ask(cluster)

    assert answer.error is not None
    assert answer.passing == (trouble in TEMPORARY)


@pytest.mark.parametrize("request_of", [{"key": "a1"}, {"rows_max": 100}], ids=["key", "page"])
def test_task_that_moves_is_waited_for(request_of: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """While its new worker has not opened it nobody can tell; the answer comes once it has."""
    monkeypatch.setattr(rows_module, "SETTLE_SECONDS", 10)
    cluster = three_hosts()
    del cluster["c"]
    cluster["b"].workers[2] = Worker(owns={1: ("a1",), 2: ()}, fault="task 4_1 does not run yet", faults=1)

    answer = read(cluster, "a", GetRows(table="counts", **request_of))

    assert ("a1", "a1") in answer.rows
    assert len(cluster["b"].asked) == 2


def test_host_without_a_secret_says_so() -> None:
    """It cannot ask others; what is its own it answers."""
    cluster = three_hosts()
    cluster["a"].has_secret = False

    assert key(cluster, "a", "a0").source == "a/0"
    error = key(cluster, "a", "a1").error
    assert error is not None
    assert error.startswith("host b is not asked, because this one has no secret (cluster_secret_file)")


def test_standby_that_does_not_know_its_lag_is_not_believed() -> None:
    """What cannot be marked is not shown."""
    cluster = three_hosts()
    cluster["c"].workers[0].lag = None
    is_down(cluster)

    error = key(cluster, "a", "a1").error

    assert error is not None
    assert error.endswith("standby c/0 does not know yet how far behind it is")


def test_hung_host_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coordinator that takes the question and says nothing: its standby answers after the deadline."""
    monkeypatch.setattr(rows_module, "PEER_SECONDS", 0.2)
    cluster = three_hosts()
    cluster["b"].workers[2].fault = "silent"

    assert key(cluster, "c", "a1") == RowsAnswer(rows=(("a1", "old"),), source="c/0", lag=7)


@pytest.mark.parametrize("rows_max", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("asked", [("a",), ("c",), ("c", "b", "a")])
def test_pages_walk_all_hosts_once(rows_max: int, asked: tuple[str, ...]) -> None:
    """Following the cursors gives every row once, in the order of hosts, even when each page is asked of another."""
    cluster = three_hosts()
    cluster["b"].workers[0] = Worker()

    async def walk() -> list[str]:
        seen: list[str] = []
        after: str | None = None
        async with all_running(cluster) as readers:
            for turn in range(20):
                question = GetRows(table="counts", after=after, rows_max=rows_max)
                answer = await readers[asked[turn % len(asked)]].read(question)
                assert answer.error is None
                assert len(answer.rows) <= rows_max
                seen += [found for found, _ in answer.rows]
                after = answer.after
                if after is None:
                    return seen
        raise AssertionError(seen)

    assert asyncio.run(walk()) == ["a0", "b0", "a3", "a1", "b1"]


@pytest.mark.parametrize(
    ("trouble", "text"),
    [
        (is_down, "cannot be reached: Connection refused"),
        (has_no_port, "host b has no --advertise address: run the command there, or start it with one"),
        (worker_restores, "task 4_1 does not run yet"),
        (task_is_moving, "host b does not have tasks 4_1, 4_2 any more"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_page_with_a_hole_is_an_error(trouble: Trouble, text: str) -> None:
    """Rows are not left out silently: the error says which host did not give its part."""
    cluster = three_hosts()
    trouble(cluster)

    error = page(cluster, "a").error

    assert error is not None
    assert error.endswith(text)


def test_page_without_an_owner_of_some_task_is_an_error() -> None:
    """A task between two owners has rows that nobody can tell now."""
    cluster = three_hosts()
    cluster["b"].workers[2].owns = {1: ("a1",)}

    assert page(cluster, "a").error == "no worker has task 4_2 at the moment"


@pytest.mark.parametrize("after", ["1/c/0:", "1/z/0:1", "3:abc", "/", ""])
def test_cursor_that_leads_nowhere_is_refused(after: str) -> None:
    """A host without tasks, and what was never a cursor."""
    assert page(three_hosts(), "a", after=after).error == f"there is nothing at {after!r} now: begin again without it"


def test_page_of_large_values_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size is bounded, not only its number of rows; the cursor goes on from there."""
    monkeypatch.setattr(rows_local, "PAGE_BYTES_MAX", 3)
    monkeypatch.setattr(rows_module, "PAGE_BYTES_MAX", 3)

    first = page(three_hosts(), "c")
    assert first.rows == (("a0", "a0"), ("b0", "b0"))
    assert page(three_hosts(), "c", after=first.after).rows == (("a3", "a3"),)


@pytest.mark.parametrize("within_the_host", [True, False])
def test_page_behind_one_after_which_a_task_moved_is_an_error(*, within_the_host: bool) -> None:
    """Its rows would be missing, or come twice, and nobody would know."""
    cluster = three_hosts()
    first = page(cluster, "a", rows_max=1)
    assert first.after is not None
    assert page(cluster, "a", after=first.after, rows_max=1).error is None

    to = cluster["a"].workers if within_the_host else cluster["b"].workers
    moved = cluster["a"].workers[1].owns
    cluster["a"].workers[1].owns = {}
    to[5] = Worker(owns=moved)
    again = page(cluster, "a", after=first.after, rows_max=1)
    assert (again.error, again.passing) == (
        "tasks of it have moved since the page before: begin again from the first",
        True,
    )


def test_unknown_table_names_those_that_are_there() -> None:
    """The answer is an error text, not a broken connection."""
    unknown = read(three_hosts(), "a", GetRows(table="conts"))

    assert unknown.error == "there is no such table; there are: counts"


def test_other_hosts_are_those_of_the_control_log() -> None:
    """Owners and standbys by host, with their addresses; this host and hosts without a task are none."""
    found = peers_of(
        "a",
        owners={"4_0": "a/0", "4_1": "b/0", "4_2": "b/1", "8_0": "c/0"},
        standbys={"4_0": ("c/0", "b/1"), "4_1": ("a/0",)},
        addresses={"b": "10.0.0.2:7070", "d": "10.0.0.4:7070"},
        away={"c": "has said nothing for 4 s"},
    )

    assert found == (
        Peer("b", "10.0.0.2:7070", frozenset({TaskId(4, 1), TaskId(4, 2)}), frozenset({TaskId(4, 0)})),
        Peer("c", None, frozenset({TaskId(8, 0)}), frozenset({TaskId(4, 0)}), "has said nothing for 4 s"),
    )


def test_task_that_leaves_while_it_is_asked_for_is_not_taken_for_looked_through() -> None:
    """A worker that has closed a shard says "not here": that is no proof that the key is nowhere."""
    held = {TaskId(GROUP, number): Slot(0) for number in range(GROUP)}

    async def ask() -> RowsAnswer:
        def send(_: Slot, question: ReadTable) -> bool:
            # The worker was asked back for 4_3 between the question and its answer.
            held.pop(TaskId(GROUP, 3))
            asyncio.get_running_loop().call_soon(reader.received, Rows(request=question.request, owner=False))
            return True

        reader = TableReader(TOPOLOGY, lambda: Ownership("a", dict(held)), send, None)
        return await reader.read(GetRows(table="counts", key="a"))

    assert asyncio.run(ask()).error == "no worker has task 4_3 at the moment"
