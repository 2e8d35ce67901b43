"""The hosts of a run: each is one coordinator with its workers and its own state directory, all on this machine.

It decides how a host is started, killed, paused and ended as a whole; when and which, others decide.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import psutil

from streamcluster.errors import ExitCode
from streamcluster_coordinator.broker.ports import free_ports
from streamcluster_coordinator.records.status import Status, TaskStatus
from tests.ledger.watching import Sampler, slot_of_task, slot_of_worker
from tests.process.records import Reader
from tests.process.running import Running, is_running, positions_of
from tests.process.waiting import eventually

APP = "tests.ledger.apps:ledger"
GONE_SECONDS = 20.0
DRAIN_SECONDS = 60
# RestartPreventExitStatus of the unit: a restart would change nothing, or another coordinator has taken over.
NOT_RESTARTED = (ExitCode.USAGE, ExitCode.STATE_INCOMPATIBLE, ExitCode.FENCED, ExitCode.CONFIGURATION)
# Killing is what a run does, so it is not taken for a crash loop. A paused process's transaction ends within seconds.
# With little memory tables are read from the disk, and its files are written and merged all the time.
SETTINGS = {
    "crash_loop_deaths": 1_000_000,
    "transaction_timeout": 10,
    "drain_timeout": DRAIN_SECONDS,
    "outbox_records_max": 5_000,
    "table_cache_bytes": 1_000_000,
    "store_block_cache_bytes": 1_000_000,
    "store_write_buffer_bytes": 1_000_000,
    # The judge reads the repartitioned topic from its beginning.
    "repartition_purge_interval": 1_000_000,
}


class Host:
    """One host. secret: what it shares with the others, None when it is alone; settings: beside those above."""

    def __init__(
        self,
        name: str,
        prefix: str,
        broker_url: str,
        directory: Path,
        workers: int,
        *,
        secret: Path | None,
        **settings: object,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        if secret is not None:
            # Each answers for the tables of all: `table` asks the others.
            settings |= {"cluster_secret_file": secret, "advertise": f"127.0.0.1:{free_ports(1)[0]}"}
        self.name = name
        self.workers = workers
        # A fault has it down or paused as a whole: it is left alone until that is undone.
        self.is_hit = False
        # How often it ended by itself and was started again.
        self.ends = 0
        # Also when it is alone: looks name it so (watching.py), not as the machine.
        self._options = ("--host", name)
        self.run = Running(APP, prefix, broker_url, directory, within=(), **{**SETTINGS, **settings})
        self.sampler = Sampler(name, self.run.status, self.processes)

    def start(self) -> None:
        """Start the coordinator and do not wait."""
        self.run.start(self.workers, *self._options)

    @property
    def is_up(self) -> bool:
        """Whether the coordinator's process is there."""
        return self.run.has_process

    def keep_up(self) -> None:
        """What its unit would do: start it again when it has ended by itself, unless an operator must act first."""
        if self.is_up or self.is_hit:
            return
        code = self.run.process.returncode
        assert code not in NOT_RESTARTED, f"{self.name} ended with {code}: {self.run.log_end()}"
        self.ends += 1
        self.start()

    def processes(self) -> list[tuple[str, psutil.Process]]:
        """The live processes, the coordinator first."""
        if not self.is_up:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            coordinator = psutil.Process(self.run.process.pid)
            children = coordinator.children(recursive=True)
            return [("coordinator", coordinator), *(("child", child) for child in children)]
        return []

    def worker_pids(self) -> list[int]:
        """Workers by the last status, of which those that are dead by now are left out."""
        status = self.sampler.last
        alive = {process.pid for _, process in self.processes()}
        return [worker.pid for worker in status.workers if worker.pid in alive] if status is not None else []

    def tasks_of(self, pids: Iterable[int]) -> frozenset[str]:
        """The tasks of these workers by the last status."""
        status, wanted = self.sampler.last, {*pids}
        if status is None:
            return frozenset()
        slots = {slot_of_worker(worker) for worker in status.workers if worker.pid in wanted}
        return frozenset(task.task for task in status.tasks if slot_of_task(task) in slots)

    def kill(self) -> None:
        """kill -9 of all processes at once, and the kernel's word that they are gone."""
        processes = [process for _, process in self.processes()]
        # The coordinator leads the group that all of them are in.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.run.process.pid, signal.SIGKILL)
        self.run.process.wait(GONE_SECONDS)
        self._see_gone(processes)

    def kill_coordinator(self) -> None:
        """kill -9 of the coordinator alone; its workers end by themselves."""
        processes = [process for _, process in self.processes()]
        self.run.kill()
        # One that another fault has stopped sees nothing until it goes on.
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        self._see_gone(processes)

    def terminate(self) -> None:
        """Ask it to drain, and do not wait."""
        self.run.signal(signal.SIGTERM)

    def drain(self) -> int:
        """Ask it to drain, and return the exit code."""
        self.terminate()
        # What has not drained in its time still has to be ended.
        return self.run.wait(DRAIN_SECONDS + GONE_SECONDS)

    def signal_all(self, number: int) -> None:
        """A signal to every process."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.run.process.pid, number)

    @staticmethod
    def _see_gone(processes: Sequence[psutil.Process]) -> None:
        eventually(
            lambda: not any(map(is_alive, processes)),
            GONE_SECONDS,
            "the processes of a dead coordinator are gone",
            lambda: str([process for process in processes if is_alive(process)]),
            every=0.005,
        )


def shared_secret(directory: Path) -> Path:
    """A file with what the hosts of a run share."""
    path = directory / "secret"
    path.write_text(secrets.token_hex(32), encoding="utf-8")
    path.chmod(0o600)
    return path


def is_alive(process: psutil.Process) -> bool:
    """Whether it still does something; one that is dead and waits for its adopter to notice does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Hosts:
    """All hosts of a run."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.all = list(hosts)

    def start(self) -> None:
        """Start all, and look at them from now on."""
        for host in self.all:
            host.start()
            host.sampler.start()

    def keep_up(self) -> None:
        """Start again what has ended by itself."""
        for host in self.all:
            host.keep_up()

    def tasks(self) -> dict[str, TaskStatus]:
        """What the hosts say of each task; of several words on one, that of a host where it runs."""
        found: dict[str, TaskStatus] = {}
        for status in self.statuses():
            for task in status.tasks:
                if task.task not in found or task.state == "running":
                    found[task.task] = task
        return found

    def statuses(self) -> list[Status]:
        """The newest status of each host that answers."""
        asked = [host.run.status() for host in self.all if host.is_up]
        return [status for status in asked if status is not None]

    def until(self, condition: Callable[[Status], bool], seconds: float, what: str) -> None:
        """Wait until the tasks of all hosts, as one status, fit. A host that ends meanwhile is started again."""

        def fits() -> bool:
            self.keep_up()
            statuses = self.statuses()
            return bool(statuses) and condition(merged(statuses, self.tasks()))

        eventually(fits, seconds, what, self.told, every=0.1)

    def until_running(self, seconds: float) -> None:
        """Wait until every task runs somewhere."""
        self.until(is_running, seconds, "every task runs")

    def until_caught_up(self, reader: Reader, seconds: float) -> None:
        """Wait until every task runs and has committed everything that there is."""
        self.until(
            lambda status: is_running(status) and reader.is_reached(positions_of(status)), seconds, "all has caught up"
        )

    def table(self, name: str) -> dict[str, str]:
        """Every row of a table, JSON by JSON key, as each of the hosts tells them."""
        told = [host.run.table_json(name) for host in self.all]
        assert all(rows == told[0] for rows in told), f"the hosts tell different rows of {name}"
        return told[0]

    def drain(self) -> dict[str, int]:
        """End all in order and return their exit codes; one after the other, as an operator would."""
        return {host.name: host.drain() for host in self.all}

    def told(self) -> str:
        """For a message: the last words of each."""
        return "\n".join(f"{host.name}: {host.run.status()}\n{host.run.log_end()}" for host in self.all)

    def close(self) -> None:
        """Leave nothing running."""
        for host in self.all:
            host.sampler.stop()
        for host in self.all:
            with contextlib.suppress(AssertionError):
                host.signal_all(signal.SIGCONT)
            host.run.close()


def merged(statuses: Sequence[Status], tasks: dict[str, TaskStatus]) -> Status:
    """One status of all hosts, for what looks at tasks only."""
    first = statuses[0]
    return type(first)(
        **{name: getattr(first, name) for name in first.__struct_fields__ if name != "tasks"},
        tasks=tuple(tasks.values()),
    )
