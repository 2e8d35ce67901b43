"""What operators ask of the leader: refusals say why, answers are kept, and a request is answered once."""

from __future__ import annotations

import pytest

from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.records.report import LeaderRequest
from streamcluster_coordinator.records.snapshot import ANSWER_CHARS_MAX, ANSWERS_KEPT
from tests.coordinator.fake_cluster import FakeCluster


def pair() -> FakeCluster:
    """Two hosts at rest; a leads."""
    cluster = FakeCluster()
    cluster.start("a")
    cluster.advance(1)
    cluster.start("b")
    cluster.advance(5)
    return cluster


def ask(cluster: FakeCluster, request: LeaderRequest, host: str = "b") -> str:
    """The leader's answer."""
    cluster.tell(cluster.host(host), ev.Asked(request))
    cluster.advance(0.25)
    return cluster.log[-1].answers[request.id]


REFUSED = [
    (LeaderRequest(id="1", kind="drain", target="x"), "there is no host or slot 'x'; the hosts are a, b"),
    (LeaderRequest(id="1", kind="undrain", target="a"), "a is not drained; drained are: none"),
    (LeaderRequest(id="1", kind="move", target="b/7", task="2_0"), "there is no host or slot 'b/7'"),
    (LeaderRequest(id="1", kind="move", target="b", task="2_0"), "is not a slot"),
    (LeaderRequest(id="1", kind="move", target="b/0", task="9_0"), "there is no task '9_0'"),
    (LeaderRequest(id="1", kind="unpin", task="2_0"), "task 2_0 was not moved by hand"),
]


def test_an_answer_is_cut_however_long_the_question_is() -> None:
    """It is in every snapshot for a while: a few long ones must not be too large for the topic."""
    cluster = pair()
    answer = ask(cluster, LeaderRequest(id="1", kind="drain", target="x" * 900_000))

    assert answer.startswith("refused: there is no host or slot 'xxx")
    assert answer.endswith("...")
    assert len(answer) == ANSWER_CHARS_MAX


@pytest.mark.parametrize(("request_", "reason"), REFUSED, ids=[f"{r.kind}-{r.target}{r.task}" for r, _ in REFUSED])
def test_a_request_that_cannot_be_done_is_refused_with_the_reason(request_: LeaderRequest, reason: str) -> None:
    """And nothing else changes."""
    cluster = pair()
    owners = cluster.owners()
    answer = ask(cluster, request_)

    assert answer.startswith("refused: ")
    assert reason in answer
    assert cluster.owners() == owners


def test_the_last_slots_cannot_be_drained() -> None:
    """Somebody must have the tasks."""
    cluster = pair()
    ask(cluster, LeaderRequest(id="1", kind="drain", target="a"))

    assert "no slot for the tasks" in ask(cluster, LeaderRequest(id="2", kind="drain", target="b/0"))


def test_a_second_rolling_restart_waits_for_the_first() -> None:
    """It is refused while the first one goes on, and says who is next."""
    cluster = pair()
    cluster.host("b").cut = True
    ask(cluster, LeaderRequest(id="1", kind="restart"), host="a")

    assert "a rolling restart is under way; next are b" in ask(cluster, LeaderRequest(id="2", kind="restart"), host="a")


def test_answers_are_kept_in_a_bounded_number() -> None:
    """Old ones go; the asker has read its answer by then."""
    cluster = pair()
    for number in range(3 * ANSWERS_KEPT):
        ask(cluster, LeaderRequest(id=f"r{number}", kind="undrain", target="a"))

    assert list(cluster.log[-1].answers) == [f"r{n}" for n in range(2 * ANSWERS_KEPT, 3 * ANSWERS_KEPT)]


def test_a_request_outlives_the_leader_that_heard_it() -> None:
    """It stays in its host's reports until the log has the answer, so the next leader gives it."""
    cluster = pair()
    leader, asker = cluster.host("a"), cluster.host("b")
    leader.refused = True
    cluster.tell(asker, ev.Asked(LeaderRequest(id="r", kind="drain", target="b")))
    leader.crash()
    cluster.start("c")
    cluster.advance(8)

    assert "r" in cluster.log[-1].answers
    assert asker.node.requests == {}
    assert cluster.log[-1].drained == ("b",)


def test_a_request_is_done_once() -> None:
    """The host repeats it in its reports until it has read the answer; the answer is given once."""
    cluster = pair()
    start = len(cluster.effects)
    ask(cluster, LeaderRequest(id="r", kind="restart"))
    cluster.advance(10)

    said = [e.text for _, e in cluster.effects[start:] if isinstance(e, ev.Say) and e.text.startswith("restart:")]
    assert len(said) == 1
    assert cluster.log[-1].roll is not None
    assert cluster.log[-1].roll.number == 1
