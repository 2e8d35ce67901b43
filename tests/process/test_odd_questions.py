"""Questions that a hostile user of the control socket asks: bounded in number and time, and the app goes on (C1)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from streamcluster.protocol.messages import READ_SECONDS
from streamcluster_coordinator.answers.control_socket import ask
from streamcluster_coordinator.cli.running import directory_of
from streamcluster_coordinator.records.status import ROWS_SECONDS, GetRows, RowsAnswer
from tests.conftest import MakeTopic
from tests.long import LONG
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.paging import PARTITIONS, fill
from tests.process.records import Feed

ROWS, QUESTIONS = 300_000 if LONG else 60_000, 180
# A worker that the status has heard nothing of for longer is stalled; a commit takes a tenth of it here.
LATE_SECONDS = 5.0


def odd(number: int) -> GetRows:
    """Far out, too large, of no table, no key, no cursor: one after the other."""
    mark = "7fe1/one/7fe1:0:"
    choices: list[Callable[[], GetRows]] = [
        lambda: GetRows(table="seen", rows_max=10**9, local=True),
        lambda: GetRows(table="seen", after=f"{mark}4_{number % 4},99999999999", rows_max=10**9),
        lambda: GetRows(table="seen", after="9" * 50_000),
        lambda: GetRows(table="seen", key="[" * 10_000),
        lambda: GetRows(table="seen", key=json.dumps("x" * 50_000)),
        lambda: GetRows(table="s" * 50_000),
    ]
    return choices[number % len(choices)]()


def test_odd_questions_hold_up_neither_heartbeats_nor_commits(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str, bootstrap: str
) -> None:
    """180 at once beside a large table: every one has an answer or a reason in time, and meanwhile commits go on."""
    for name in ("in", "out"):
        make_topic(f"{topic_prefix}{name}", PARTITIONS)
    run = running("obedient", stall_timeout=LATE_SECONDS)
    run.start(1)
    run.until_running()
    fill(run, bootstrap, topic_prefix, ROWS)
    feed = Feed(bootstrap, f"{topic_prefix}in", (Row(f"new-{number}", b"v") for number in range(10**6)), rate=100)
    feed.start()
    answers: list[RowsAnswer | Exception] = []
    taken: list[float] = []
    done = threading.Event()

    def question(number: int) -> None:
        began = time.monotonic()
        try:
            answer = ask(directory_of(run.settings), odd(number), seconds=60.0)
            assert isinstance(answer, RowsAnswer)
            answers.append(answer)
        except (ConnectionError, OSError) as error:
            # The socket closes what it refuses.
            answers.append(error)
        taken.append(time.monotonic() - began)

    commits, moved_at, latest = run.worker().figures.commits_total, time.monotonic(), 0.0
    with ThreadPoolExecutor(QUESTIONS) as pool:
        asked = [pool.submit(question, number) for number in range(QUESTIONS)]
        while not all(one.done() for one in asked):
            if (now_at := run.worker().figures.commits_total) > commits:
                commits, moved_at = now_at, time.monotonic()
            latest = max(latest, time.monotonic() - moved_at)
            done.wait(0.05)
    feed.stop()
    assert len(answers) == QUESTIONS
    assert max(taken) < ROWS_SECONDS + READ_SECONDS
    assert latest < LATE_SECONDS
    errors = [answer.error for answer in answers if isinstance(answer, RowsAnswer) and answer.error is not None]
    closed = [answer for answer in answers if isinstance(answer, Exception)]
    # Four of six kinds are no questions.
    assert len(errors) + len(closed) >= QUESTIONS // 2
    # Most askers find the socket full, so that fewer questions than a worker bears come through.
    assert closed
    status = run.until_caught_up()
    assert (status.workers[0].restarts, status.workers[0].state) == (0, "running")
    assert "did not report" not in run.log()
    assert run.drain() == 0
