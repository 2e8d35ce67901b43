"""The coordinator as it is, on a real broker, with real processes that only play workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from .driving import SECONDS, Driven, app_directory, double_owners, fault, until

Start = Callable[..., Driven]


@pytest.fixture
def start(tmp_path: Path, broker_url: str, topic_prefix: str) -> Iterator[Start]:
    """Starts coordinators of one app, and ends what is left of them."""
    started: list[Driven] = []

    def start_one(*, where: str = "state", faulty: tuple[int, str] | None = None, **settings: object) -> Driven:
        topic = f"{topic_prefix}in"
        if faulty is not None:
            fault(app_directory(topic, tmp_path / where), *faulty)
        started.append(Driven.start(topic, tmp_path / where, settings.pop("broker", broker_url), **settings))
        return started[-1]

    yield start_one
    for driven in started:
        if driven.process.poll() is None:
            for process in driven.family():
                # It may end by itself, as in a crash loop.
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            driven.process.kill()
        driven.process.wait(SECONDS)


def test_start_grants_every_task_once_and_term_drains(start: Start) -> None:
    """All tasks are held by two workers, one of them leads; TERM ends with 0 and nothing is left running."""
    app = start()
    app.wait_until_serving()
    status = app.status()
    family = app.family()

    app.signal(signal.SIGTERM)

    assert app.end() == 0
    assert sorted(task for worker in status.workers for task in worker.tasks) == ["4_0", "4_1", "4_2", "4_3"]
    assert [worker.leader for worker in status.workers].count(True) == 1
    assert double_owners(app.journal(), dead=()) == []
    assert psutil.wait_procs(family, timeout=SECONDS)[1] == []
    assert [(what, task) for _, _, what, task in app.journal() if what == "released"]
    assert any("created topics" in line for line in app.lines)


def test_killed_worker_is_replaced_in_its_slot(start: Start) -> None:
    """Its tasks go to its successor, nobody else's move, and the status says why."""
    app = start()
    app.wait_until_serving()
    victim = app.worker(0)
    assert victim.pid is not None

    os.kill(victim.pid, signal.SIGKILL)

    until("the replacement serves", lambda: app.worker(0).pid != victim.pid and app.serves())
    after = app.worker(0)
    assert after.tasks == victim.tasks
    assert after.restarts == 1
    assert after.last_death is not None
    assert "killed by signal 9, perhaps out of memory" in after.last_death
    assert double_owners(app.journal(), dead=[victim.pid]) == []


def test_stopped_worker_is_killed_and_replaced(start: Start) -> None:
    """SIGSTOP stops the heartbeat: reported, then killed after stall_timeout, which works on stopped processes."""
    app = start(stall_report=2, stall_timeout=10)
    app.wait_until_serving()
    victim = app.worker(1)
    assert victim.pid is not None

    os.kill(victim.pid, signal.SIGSTOP)

    app.says("worker 1 has sent no heartbeat")
    until("the replacement serves", lambda: app.worker(1).pid != victim.pid and app.serves())
    assert "killed after 10 s without a heartbeat" in str(app.worker(1).last_death)
    assert double_owners(app.journal(), dead=[victim.pid]) == []


@pytest.mark.parametrize("code", [65, 70, 78])
def test_explained_exit_ends_the_app(start: Start, code: int) -> None:
    """A worker that says why no restart helps ends the app with its code, once the others have drained."""
    app = start(faulty=(1, f"exit {code}"))

    assert app.end() == code
    assert sum("a restart would not help" in line for line in app.lines) == 1
    assert any(f"asked to exit with {code}" in line for line in app.lines)
    assert any("Traceback: here" in line for line in app.lines)


def test_crash_loop_backs_off_and_spreads_the_tasks(start: Start) -> None:
    """A slot that dies at every grant waits, and the other worker gets its tasks."""
    app = start(crash_loop_deaths=3)

    def is_spread() -> bool:
        status = app.status()
        return [len(worker.tasks) for worker in status.workers] == [4, 0] and status.state == "degraded"

    app.wait_until_serving()
    fault(app.directory, 1, "crash", always=True)
    pid = app.worker(1).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    app.says("worker 1 dies again and again")
    until("worker 0 has all tasks while worker 1 waits", is_spread)


def test_worker_that_breaks_the_protocol_is_killed(start: Start) -> None:
    """Bytes that are no message are said and end that process; its successor serves."""
    app = start(faulty=(0, "garbage"))

    app.says("worker 0 is killed: it sent what is not a message")
    app.wait_until_serving()


def test_drain_deadline_kills_what_hangs(start: Start) -> None:
    """A worker that does not drain is killed, and the exit code says that not everything was drained."""
    app = start(faulty=(0, "hang"), drain_timeout=1.0, workers=1)
    until("it hangs", lambda: (app.directory / "journal").exists())
    until("the status is there", lambda: app.worker(0).tasks != ())

    app.signal(signal.SIGTERM)

    assert app.end() == 75
    assert any("not drained within 1 s, killed: worker 0" in line for line in app.lines)


def test_second_interrupt_stops_at_once(start: Start) -> None:
    """Ctrl-C twice does not wait for a worker that hangs."""
    app = start(faulty=(0, "hang"), drain_timeout=4 * SECONDS, workers=1)
    until("it hangs", lambda: (app.directory / "journal").exists())
    # A worker that has been given nothing is not waited for.
    until("the status is there", lambda: app.worker(0).tasks != ())

    app.signal(signal.SIGINT)
    app.says("draining")
    app.signal(signal.SIGINT)

    assert app.end() == 75
    assert any("stopped at once" in line for line in app.lines)


def test_workers_come_and_go_by_signal(start: Start) -> None:
    """TTIN adds a worker that gets its share, TTOU takes the last one away; no task ever has two owners."""
    app = start(workers=1)
    app.wait_until_serving(1)

    app.signal(signal.SIGTTIN)
    app.wait_until_serving(2)
    until("the tasks are spread", lambda: [len(worker.tasks) for worker in app.status().workers] == [2, 2])
    app.signal(signal.SIGTTOU)
    app.wait_until_serving(1)

    until("one worker has all", lambda: len(app.worker(0).tasks) == 4)
    assert double_owners(app.journal(), dead=()) == []


def test_hup_restarts_one_worker_after_the_other(start: Start) -> None:
    """Both processes are new afterwards, tasks are where they were, and nobody owned a task twice."""
    app = start()
    app.wait_until_serving()
    before = app.status().workers

    app.signal(signal.SIGHUP)

    app.says("the rolling restart is done")
    app.wait_until_serving()
    after = app.status().workers
    assert [worker.tasks for worker in after] == [worker.tasks for worker in before]
    assert not {worker.pid for worker in after} & {worker.pid for worker in before}
    assert [worker.restarts for worker in after] == [0, 0]
    assert double_owners(app.journal(), dead=()) == []


def test_second_start_on_the_same_directory_is_refused(start: Start) -> None:
    """It says which pid runs here and ends with 78; the first goes on."""
    first = start()
    first.wait_until_serving()

    second = start()

    assert second.end() == 78
    assert any(f"(pid {first.process.pid})" in line for line in second.lines)
    assert first.serves()


def test_start_elsewhere_under_the_same_name_takes_it_over(start: Start) -> None:
    """The first says who took the host's name and ends with 76; the second runs, in a newer term."""
    first = start(where="here")
    first.wait_until_serving()
    term = first.status().term

    second = start(where="there")

    assert first.end() == 76
    first.says("took over the name")
    first.says(f"(pid {second.process.pid} on ")
    second.wait_until_serving()
    assert second.status().term > term


def test_stopped_coordinator_that_wakes_up_after_a_takeover_grants_nothing(start: Start) -> None:
    """A stale coordinator that finds its worker dead may start another, but reads the log before it grants: 76."""
    first = start(where="here")
    first.wait_until_serving()
    granted = len(first.journal())
    victim = first.worker(0).pid
    assert victim is not None
    first.signal(signal.SIGSTOP)
    second = start(where="there")
    second.wait_until_serving()

    os.kill(victim, signal.SIGKILL)
    first.signal(signal.SIGCONT)

    assert first.end() == 76
    assert [what for _, _, what, _ in first.journal()[granted:] if what == "granted"] == []
    assert second.serves()


def test_killed_coordinator_leaves_nothing_behind(start: Start) -> None:
    """kill -9 ends fork server and workers, and the next start has the directory and serves."""
    first = start()
    first.wait_until_serving()
    family = first.family()

    first.process.kill()

    assert psutil.wait_procs(family, timeout=SECONDS)[1] == []
    second = start()
    second.wait_until_serving()


def test_dead_fork_server_is_replaced(start: Start) -> None:
    """Its workers' ends are still seen by the kernel's word, and their successors come from a new one."""
    app = start()
    app.wait_until_serving()
    workers = {worker.pid for worker in app.status().workers}
    [server] = [one for one in psutil.Process(app.process.pid).children() if one.children()]

    server.kill()
    for pid in workers:
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    until("others serve", lambda: not workers & {worker.pid for worker in app.status().workers} and app.serves())
    app.signal(signal.SIGTERM)
    assert app.end() == 0


def test_tables_are_read_through_the_coordinator(start: Start) -> None:
    """One key comes from its owner; pages walk all workers."""
    app = start()
    app.wait_until_serving()

    one = app.rows(key='"4_2"')
    first = app.rows(rows_max=1)
    rest = app.rows(rows_max=1, after=first.after)

    assert one.rows == (('"4_2"', "1"),)
    assert (first.rows, rest.rows) == ((('"4_0"', "1"),), (('"4_1"', "1"),))


def test_unreachable_broker_ends_with_69(start: Start) -> None:
    """After connect_timeout it says where it looked."""
    app = start(broker="kafka://127.0.0.1:1", connect_timeout=1.0)

    assert app.end() == 69
    assert any("no Kafka broker answered at 127.0.0.1:1 within 1 s" in line for line in app.lines)


def test_app_that_does_not_import_is_said_with_its_traceback(tmp_path: Path, broker_url: str) -> None:
    """The probe's words and the user's traceback, and 78."""
    app = Driven.start("broken", tmp_path / "state", broker_url)

    assert app.end() == 78
    assert app.lines == ["refused -A broken does not import Traceback"]


def test_signals_of_a_whole_group_end_nothing_but_by_message(start: Start) -> None:
    """systemd and terminals signal every process: workers and fork server leave it to the coordinator to drain."""
    app = start()
    app.wait_until_serving()

    for process in app.family():
        process.terminate()
    app.signal(signal.SIGTERM)

    assert app.end() == 0
    assert sorted(task for _, _, what, task in app.journal() if what == "released") == ["4_0", "4_1", "4_2", "4_3"]


def test_journal_checker_sees_two_owners() -> None:
    """The checker of this file can fail: a grant before the release or the death of the owner before it."""
    journal = [(0, 10, "granted", "4_0"), (1, 11, "granted", "4_0")]

    assert double_owners(journal, dead=()) == ["4_0: 10 and 11"]
    assert double_owners(journal, dead=[10]) == []
