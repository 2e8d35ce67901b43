"""The simulated brokers: a control log, a status log, and who owns which transactional id. No time passes in here."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamcluster.ids import SlotId, TaskId
from streamcluster_coordinator.records.report import HostReport
from streamcluster_coordinator.records.snapshot import Snapshot


class Unsafe(AssertionError):
    """What must never happen has happened."""


@dataclass(slots=True)
class Brokers:
    """What all hosts share."""

    control: list[Snapshot] = field(default_factory=list)
    status: list[HostReport] = field(default_factory=list)
    # Who may write the control log: the number of the last claim. The same for the slots: the number of a session.
    claim: int = 0
    sessions: dict[SlotId, int] = field(default_factory=dict)
    newest_session: int = 0
    # Per task: how many commits there were. A commit says which one it follows.
    committed: dict[TaskId, int] = field(default_factory=dict)

    def open_claim(self) -> int:
        """init_transactions on the control log's id: whoever had it is fenced."""
        self.claim += 1
        return self.claim

    def write(self, claim: int, snapshot: Snapshot) -> bool:
        """A transaction with one record; False: the writer is fenced."""
        if claim != self.claim:
            return False
        last = self.control[-1] if self.control else None
        if last is not None and snapshot.epoch != last.epoch + 1:
            raise Unsafe(f"epoch {snapshot.epoch} follows {last.epoch}")
        if last is not None and snapshot.term < last.term:
            raise Unsafe(f"term {snapshot.term} follows {last.term}")
        if last is not None and snapshot.term == last.term and snapshot.leader not in (last.leader, None):
            raise Unsafe(f"two leaders in term {snapshot.term}")
        self.control.append(snapshot)
        return True

    def open_session(self, slot: SlotId) -> int:
        """init_transactions on a slot's id: whoever had it is fenced, and what it had open is aborted."""
        self.newest_session += 1
        self.sessions[slot] = self.newest_session
        return self.newest_session

    def is_current(self, slot: SlotId, session: int) -> bool:
        """Whether that session can still commit."""
        return self.sessions.get(slot) == session

    def commit(self, slot: SlotId, session: int, tasks: dict[TaskId, int]) -> bool:
        """One transaction: task -> the commit that it follows. False: fenced, and nothing of it counts."""
        if not self.is_current(slot, session):
            return False
        for task, follows in tasks.items():
            if self.committed.get(task, 0) != follows:
                raise Unsafe(
                    f"{slot} commits task {task} after {follows}, but {self.committed.get(task, 0)} is committed"
                )
            self.committed[task] = follows + 1
        return True
