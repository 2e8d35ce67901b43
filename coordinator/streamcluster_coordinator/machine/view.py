"""What one host knows of the cluster: the newest snapshot, and the newest report of each host with the time it came.

Who counts as alive is decided here, by our own clock only (H19). It knows no slots of ours and writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from streamcluster.outside import Unreadable
from streamcluster.settings import Settings

from ..records.report import UNCHANGED, HostReport, HostRows, decode_rows
from ..records.snapshot import Snapshot

# A host that was taken for dead and was not gets twice the time at its next silence, up to this factor (H21); after so
# many seconds without another such mistake it is trusted as before.
STRIKES_MAX = 3
STRIKE_SECONDS = 120.0
# Hosts that are listened to at a time; more are made up. Their entries in a snapshot have 400 kB at the most.
HOSTS_MAX = 300
# When several hosts, and more than a third of all, fall silent at once, something between us is the likelier cause
# (H11): they get so many times the time.
MASS_FACTOR = 3.0


@dataclass(slots=True)
class Heard:
    """The newest report of a host. at: when it came; strikes: how often it was taken for dead by mistake."""

    report: HostReport
    at: float
    strikes: int = 0
    struck_at: float = 0.0
    # Its newest rows, as they came; decoded when somebody asks for them, and UNCHANGED then.
    told: msgspec.Raw = field(init=False)
    decoded: HostRows | None = None
    # Why its newest rows cannot be read; None: they can, or nobody has asked for them.
    trouble: str | None = None
    # The sequence of the last report that was older than the newest.
    older: int = -1

    def __post_init__(self) -> None:
        self.told = self.report.rows

    def take(self, report: HostReport, now: float) -> bool:
        """A newer report of the same coordinator; False: it says nothing new."""
        before, self.report, self.at = self.report, report, now
        if report.rows != UNCHANGED:
            self.told = report.rows
            return True
        return msgspec.structs.replace(report, sequence=before.sequence, rows=before.rows) != before

    def rows(self) -> HostRows | None:
        """Its newest rows that can be read; None: it has told none since we listen."""
        if self.told != UNCHANGED:
            told, self.told = self.told, UNCHANGED
            try:
                self.decoded, self.trouble = decode_rows(told), None
            except Unreadable as error:
                self.trouble = str(error)
        return self.decoded

    def is_newer(self, report: HostReport) -> bool:
        """Whether a report of the same coordinator is newer than the one that is known.

        Reports that come twice are not. But two in a row that are older, one right after the other, are from the host
        that goes on: somebody else has written one with a greater sequence, which must not silence it for good.
        """
        older, self.older = self.older, report.sequence
        return report.sequence > self.report.sequence or report.sequence == older + 1


@dataclass(slots=True)
class View:
    """For one coordinator. name: of its host; instance: its own."""

    settings: Settings
    name: str
    instance: str
    now: float = 0.0
    started_at: float = 0.0
    snapshot: Snapshot | None = None
    heard: dict[str, Heard] = field(default_factory=dict)
    # When our own report last came back: brokers take what we write, and we read what others write.
    echo_at: float = 0.0
    # When the leader of the snapshot was last heard of, by a report or a record.
    leader_at: float = 0.0
    # Seconds in which we did not run.
    absence: float = 0.0

    def tick(self, now: float) -> None:
        """Take the time. After a pause of our own the silence of others means nothing."""
        gap = now - self.now
        if self.now and gap > self.settings.host_timeout / 3:
            self._forgive(gap)
        self.now = now
        self._forget()

    def _forgive(self, seconds: float) -> None:
        for heard in self.heard.values():
            heard.at += seconds
        self.leader_at += seconds
        self.absence += seconds

    def _forget(self) -> None:
        """Names of hosts may never come again, as those of containers."""
        registered = self.snapshot.hosts if self.snapshot is not None else {}
        for host in [host for host in self.heard if host not in registered and self.silence(host) > STRIKE_SECONDS]:
            del self.heard[host]

    def read(self, snapshot: Snapshot) -> None:
        """A record of the control log; an older one than the last is not listened to (H2)."""
        if self.snapshot is not None and (snapshot.term, snapshot.epoch) < (self.snapshot.term, self.snapshot.epoch):
            return
        self.snapshot = snapshot
        self.leader_at = self.now

    def go_back(self, snapshot: Snapshot | None) -> None:
        """Forget what was read since that one, which nobody can act on."""
        self.snapshot = snapshot

    def hear(self, report: HostReport) -> bool:
        """A record of the status topic. Returns False when nothing follows from it but that a host still lives."""
        snapshot = self.snapshot
        entry = snapshot.hosts.get(report.host) if snapshot is not None else None
        if entry is not None and report.instance in entry.superseded:
            return False
        is_news = False
        if report.host == self.name and report.instance == self.instance:
            if self.is_cut_off():
                # Nobody was heard meanwhile, so nobody is silent yet.
                for other in self.heard.values():
                    other.at = self.now
                self.leader_at = self.now
                is_news = True
            self.echo_at = self.now
        leader = snapshot.leader if snapshot is not None else None
        if leader is not None and (leader.host, leader.instance) == (report.host, report.instance):
            self.leader_at = self.now
        before = self.heard.get(report.host)
        if before is None and len(self.heard) >= HOSTS_MAX and entry is None:
            return False
        if before is None or before.report.instance != report.instance:
            self.heard[report.host] = Heard(report, self.now)
            return True
        if before.is_newer(report):
            # Who was silent may have been taken for dead.
            is_news |= self.now - before.at >= self.settings.host_timeout
            is_news |= before.take(report, self.now)
        return is_news

    def forget(self, host: str) -> None:
        """What it said is not to be used."""
        self.heard.pop(host, None)

    def is_cut_off(self) -> bool:
        """Our own reports do not come back: what we do not hear says nothing about others (H11)."""
        return self.now - self.echo_at > self.settings.host_timeout * 2 / 3

    def silence(self, host: str) -> float:
        """Seconds since a host was heard; from our start for one that never was."""
        heard = self.heard.get(host)
        return self.now - (heard.at if heard is not None else self.started_at)

    def patience(self, host: str) -> float:
        """How long a host may be silent."""
        heard = self.heard.get(host)
        strikes = heard.strikes if heard is not None and self.now - heard.struck_at < STRIKE_SECONDS else 0
        return self.settings.host_timeout * 2.0**strikes

    def is_silent(self, host: str) -> bool:
        """Whether a host has said nothing for longer than it may."""
        return self.silence(host) > self.patience(host)

    def dead(self, hosts: list[str]) -> set[str]:
        """Those of `hosts` that are taken for dead. It means nothing while we hear nothing ourselves (is_cut_off)."""
        others = [host for host in hosts if host != self.name]
        silent = [host for host in others if self.is_silent(host)]
        # Hosts that fell silent together were heard last at different moments.
        hushed = [host for host in others if self.silence(host) > self._overdue_seconds()]
        if len(hushed) > 1 and len(hushed) * 3 > len(hosts):
            silent = [host for host in silent if self.silence(host) > MASS_FACTOR * self.patience(host)]
        return set(silent)

    def _overdue_seconds(self) -> float:
        """So long a host is silent when another, heard a heartbeat before it for the last time, is taken for dead."""
        late = 1.25 * self.settings.host_heartbeat
        return max(self.settings.host_timeout - late, late)

    def strike(self, host: str) -> None:
        """A host that was taken for dead is heard again."""
        heard = self.heard[host]
        recent = self.now - heard.struck_at < STRIKE_SECONDS
        heard.strikes = min(STRIKES_MAX, heard.strikes + 1) if recent else 1
        heard.struck_at = self.now

    def report_of(self, host: str) -> HostReport | None:
        """The newest report of the coordinator that the snapshot has for that host."""
        heard = self.heard.get(host)
        entry = self.snapshot.hosts.get(host) if self.snapshot is not None else None
        if heard is None or entry is None or heard.report.instance != entry.instance:
            return None
        return heard.report

    def rows_of(self, host: str) -> HostRows | None:
        """The newest rows of the coordinator that the snapshot has for that host."""
        return self.heard[host].rows() if self.report_of(host) is not None else None

    def fresh(self) -> list[HostReport]:
        """Reports of hosts that are not silent, ours included, in the order of their names."""
        names = sorted(name for name in self.heard if not self.is_silent(name))
        return [self.heard[name].report for name in names if self.heard[name].report.state != "left"]
