"""Commits of whoever has lost the slot: nothing of them counts but, at least once, outputs."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from streamcluster.errors import Fenced
from streamcluster.ids import TP
from streamcluster.kafka.offsets import read_committed_positions
from streamcluster_worker.data.sender import Sender
from tests.conftest import MakeTopic
from tests.process.waiting import eventually
from tests.worker.committing import PATHS, SECONDS, Bench, Guarantee, records


@pytest.fixture(params=PATHS)
def native(request: pytest.FixtureRequest) -> bool:
    """Each way to the client."""
    return bool(request.param)


@pytest.fixture(params=["exactly_once", "at_least_once"])
def bench(request: pytest.FixtureRequest, broker_url: str, topic_prefix: str, native: bool) -> Bench:
    """A bench at each guarantee."""
    return Bench(broker_url, topic_prefix, request.param, native=native)


@pytest.fixture
def once(broker_url: str, topic_prefix: str, native: bool) -> Bench:
    """A bench at exactly once."""
    return Bench(broker_url, topic_prefix, "exactly_once", native=native)


def test_second_owner_fences_the_first(once: Bench, make_topic: MakeTopic, topic_prefix: str) -> None:
    """With a transaction open, the next owner is ready soon; the first then gets Fenced and nothing of it counts."""
    out, source = make_topic(topic_prefix + "out", 1), make_topic(topic_prefix + "in", 1)
    first = once.committer()
    first.commit({out: records(b"good")}, {}, {TP(source, 0): (1, "")})
    first.produce_early({out: records(b"lost")})
    second = once.committer()
    with pytest.raises(Fenced):
        first.commit({out: records(b"lost too")}, {}, {TP(source, 0): (2, "")})
    first.close()
    assert read_committed_positions(once.consumer, [TP(source, 0)], 10.0)[TP(source, 0)].offset == 1
    second.commit({out: records(b"next")}, {}, {})
    assert [message.value() for message in once.read(out)] == [b"good", b"next"]


def test_owner_that_was_fenced_before_it_produces_is_told_so(
    once: Bench, make_topic: MakeTopic, topic_prefix: str
) -> None:
    """Its client takes no record any more, and the error that says so does not say why."""
    out = make_topic(topic_prefix + "out", 1)
    first = once.committer()
    first.produce_early({out: records(b"lost")})
    second = once.committer()
    with pytest.raises(Fenced):
        # Not produce_early, which also asks what has become of its records.
        eventually(
            lambda: first._produce({out: records(b"lost too")}, time.monotonic() + SECONDS), SECONDS, "it is told"
        )
    first.close()
    second.commit({out: records(b"next")}, {}, {})
    assert [message.value() for message in once.read(out)] == [b"next"]


def stop_before_rows_leave(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """The next flush with something in the queue stops, as a suspended process does: (it has stopped, let it go on)."""
    stopped, goes_on, usual = threading.Event(), threading.Event(), Sender.flush

    def flush(sender: Sender, deadline: float) -> None:
        if len(sender.producer) and not stopped.is_set():
            stopped.set()
            assert goes_on.wait(SECONDS)
        usual(sender, deadline)

    monkeypatch.setattr(Sender, "flush", flush)
    return stopped, goes_on


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_rows_that_wait_in_the_client_of_a_stopped_owner_never_count(
    monkeypatch: pytest.MonkeyPatch, broker_url: str, make_topic: MakeTopic, topic_prefix: str, guarantee: Guarantee
) -> None:
    """Stopped in the middle of a commit, it goes on when another one has committed: no row, no offset of it lands."""
    # Nothing leaves before the flush.
    bench = Bench(broker_url, topic_prefix, guarantee, options={"linger.ms": "10000"})
    log, source = TP(make_topic(topic_prefix + "log", 1), 0), TP(make_topic(topic_prefix + "in", 1), 0)
    first = bench.committer()
    first.commit({}, {log: records(b"1")}, {source: (1, "")})
    stopped, goes_on = stop_before_rows_leave(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(first.commit, {}, {log: records(b"stale")}, {source: (2, "")})
        assert stopped.wait(SECONDS)
        bench.committer().commit({}, {log: records(b"2")}, {source: (5, "")})
        goes_on.set()
        with pytest.raises(Fenced):
            late.result(SECONDS)

    assert [message.value() for message in bench.read(log.topic)] == [b"1", b"2"]
    assert read_committed_positions(bench.consumer, [source], 10.0)[source].offset == 5


@pytest.mark.parametrize("rows", [0, 1])
def test_a_former_owner_commits_no_offsets(bench: Bench, make_topic: MakeTopic, topic_prefix: str, rows: int) -> None:
    """With rows and without: from a position of it the new owner's events would be done again, or never."""
    log, source = TP(make_topic(topic_prefix + "log", 1), 0), TP(make_topic(topic_prefix + "in", 1), 0)
    first, second = bench.committer(), bench.committer()
    second.commit({}, {}, {source: (5, "")})
    with pytest.raises(Fenced):
        first.commit({}, {log: records(b"stale").part(0, rows)}, {source: (2, "")})
    assert read_committed_positions(bench.consumer, [source], 10.0)[source].offset == 5


def test_outputs_at_least_once_leave_at_once_and_stay(
    broker_url: str, make_topic: MakeTopic, topic_prefix: str
) -> None:
    """They wait for no commit, hold up no reader, and abort() takes none back."""
    bench, out = Bench(broker_url, topic_prefix, "at_least_once"), make_topic(topic_prefix + "out", 1)
    committer = bench.committer()
    committer.produce_early({out: records(b"1")})
    eventually(lambda: bench.read(out), SECONDS, "the output can be read")
    committer.abort()
    committer.commit({out: records(b"2")}, {}, {})
    assert [message.value() for message in bench.read(out)] == [b"1", b"2"]


def test_outputs_at_least_once_go_on_leaving_beside_the_transaction_of_a_commit(
    monkeypatch: pytest.MonkeyPatch, broker_url: str, make_topic: MakeTopic, topic_prefix: str
) -> None:
    """As soon as a commit's own have landed, and while its rows are on their way."""
    bench, out = Bench(broker_url, topic_prefix, "at_least_once"), make_topic(topic_prefix + "out", 1)
    log = TP(make_topic(topic_prefix + "log", 1), 0)
    committer = bench.committer()
    committer.commit({out: records(b"1")}, {log: records(b"1")}, {})
    stopped, goes_on = stop_before_rows_leave(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        commit = pool.submit(committer.commit, {}, {log: records(b"2")}, {})
        assert stopped.wait(SECONDS)
        assert committer.outputs_landed
        committer.produce_early({out: records(b"2")})
        eventually(lambda: len(bench.read(out)) == 2, SECONDS, "the output is there before the commit's end")
        goes_on.set()
        assert commit.result(SECONDS)
    assert not committer.outputs_landed
