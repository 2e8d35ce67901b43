"""What the leader's processor does for one plan of a large cluster: `python -m tests.bench.placement --help`.

Needs no broker. Plans follow each other as the leader makes them, from the reports that hosts would write: all hosts
come at once, one dies, one joins. Time is the processor's, of several runs the best: what else runs on the machine
makes it slower, never faster.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from streamcluster.ids import SlotId, TaskId
from streamcluster.placement.assign import assign
from streamcluster.protocol.messages import TaskFigures
from streamcluster_coordinator.machine.plan import Draft, PlanFacts, catch_up, draft_of, finished, plan, situation_of
from streamcluster_coordinator.records.report import HostReport, HostRows, SlotReport
from streamcluster_coordinator.records.snapshot import Shape, Snapshot, encode_snapshot
from streamcluster_coordinator.records.status import TaskStatus

Result = TypeVar("Result")

RUNS = 3
RECORDS = 100_000
EMPTY = Snapshot(epoch=1, term=1, leader=None, cluster_id="cluster", topic_id="topic", shape=Shape())


@dataclass(slots=True)
class Cluster:
    """Hosts that have done what the snapshot says, and what the leader knows of them.

    racks: 0 for none. warmups: how many tasks may warm up elsewhere at a time, the default of the setting.
    """

    hosts: list[str]
    slots: int
    tasks: tuple[TaskId, ...]
    racks: int = 0
    warmups: int = 4
    dead: frozenset[str] = frozenset()
    fenced: dict[SlotId, int] = field(default_factory=dict)
    snapshot: Snapshot = EMPTY
    targets: dict[TaskId, SlotId] = field(default_factory=dict)

    def facts(self) -> PlanFacts:
        """What the plan is made from."""
        told: dict[str, list[TaskStatus]] = {host: [] for host in self.hosts}
        for text, owner in self.snapshot.owners.items():
            copies = [(owner, "running"), *((slot, "standby") for slot in self.snapshot.standbys.get(text, ()))]
            for slot, state in copies:
                host, _, number = slot.rpartition("/")
                if host in told:
                    load = 10.0 if state == "running" else 0.0
                    status = TaskStatus(
                        task=text,
                        slot=int(number),
                        state=state,
                        events_per_second=load,
                        figures=TaskFigures(lag={"log": 0}, stored=RECORDS),
                    )
                    told[host].append(status)
        return PlanFacts(
            tasks=self.tasks,
            stateless=frozenset(),
            reports={host: self._report(host) for host in self.hosts},
            rows={host: HostRows(tasks=tuple(told[host])) for host in self.hosts},
            dead=self.dead,
            fenced=self.fenced,
            targets=self.targets,
            replicas=1,
            warmups_max=self.warmups,
        )

    def _report(self, host: str) -> HostReport:
        return HostReport(
            host=host,
            instance=host,
            pid=1,
            machine=host,
            sequence=1,
            epoch_read=self.snapshot.epoch,
            state="member",
            shape=EMPTY.shape,
            rack=f"r{int(host[1:]) % self.racks}" if self.racks else None,
            slots=tuple(SlotReport(number=number, ready=True, fenced=True) for number in range(self.slots)),
        )

    def go_on(self) -> None:
        """Make a plan and do as it says."""
        facts = self.facts()
        self.snapshot, draft = planned(self.snapshot, facts)
        self.targets = draft.targets

    def lose(self, host: str) -> None:
        """A host dies; its tasks are asked back, and its slots are fenced."""
        self.hosts, self.dead = [name for name in self.hosts if name != host], frozenset([host])
        self.go_on()
        self.fenced = {SlotId(host, number): self.snapshot.epoch for number in range(self.slots)}

    def spread(self) -> int:
        """How many tasks the fullest slot owns more than the emptiest."""
        counts = Counter(self.snapshot.owners.values())
        numbers = [counts[f"{host}/{slot}"] for host in self.hosts for slot in range(self.slots)]
        return max(numbers) - min(numbers)


def planned(snapshot: Snapshot, facts: PlanFacts) -> tuple[Snapshot, Draft]:
    """One plan, up to the record's bytes."""
    draft = draft_of(snapshot, facts)
    plan(draft, facts)
    made = finished(draft, snapshot)
    encode_snapshot(made)
    return made, draft


def least_seconds(work: Callable[[], object]) -> float:
    """Of the processor, the least of some runs."""
    taken = []
    for _ in range(RUNS):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


def measure(cluster: Cluster, name: str) -> tuple[str, float, float]:
    """Make one plan: its name, the seconds that the decision alone takes, and those of all that the plan takes."""
    facts = cluster.facts()
    draft = draft_of(cluster.snapshot, facts)
    catch_up(draft, facts)
    situation = situation_of(draft, facts)
    decision = least_seconds(lambda: assign(situation))
    whole = least_seconds(lambda: planned(cluster.snapshot, facts))
    cluster.go_on()
    return name, decision, whole


def figures(cluster: Cluster) -> list[tuple[str, float, float]]:
    """All of them, in the order in which they happen."""
    found = [measure(cluster, "cold"), measure(cluster, "nothing new")]
    newcomer = f"h{len(cluster.hosts)}"
    cluster.lose(cluster.hosts[0])
    found.append(measure(cluster, "a host died"))
    cluster.dead, cluster.fenced = frozenset(), {}
    cluster.hosts.append(newcomer)
    found.append(measure(cluster, "a host joins"))
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.placement", description=__doc__.split(":")[0])
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--slots", type=int, default=8, help="per host")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--racks", type=int, default=0)
    options = parser.parse_args()
    hosts = [f"h{number}" for number in range(options.hosts)]
    tasks = tuple(TaskId(options.tasks, number) for number in range(options.tasks))
    print(f"{'CPU seconds':20} {'assign':>8} {'plan':>8}")
    for name, decision, whole in figures(Cluster(hosts, options.slots, tasks, options.racks)):
        print(f"{name:20} {decision:8.3f} {whole:8.3f}")


if __name__ == "__main__":
    main()
