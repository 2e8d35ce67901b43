"""One run of the ledger, from an empty broker to a verdict: load, faults, a cut, recovery, an orderly end, the judge.

It decides the order of these; what is done to whom, what is right and how long it took, others decide.
"""

from __future__ import annotations

import pickle
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streamcluster_coordinator.broker import Broker
from tests.ledger.broker_faults import SKIPPED, BrokerFaults, ends_skipped
from tests.ledger.chaos import Action, Chaos, Done
from tests.ledger.checks import verdict
from tests.ledger.collecting import (
    Commits,
    Names,
    brokers_of,
    claims_of,
    cluster_id_of,
    cut_of,
    letters_of,
    logs_of,
    stores_of,
)
from tests.ledger.event_faults import EventFaults
from tests.ledger.evidence import evidence_of
from tests.ledger.faults import Fault, schedule
from tests.ledger.generator import Dates, Wish, first_profiles, later_profiles, movements, payments, stamp_of
from tests.ledger.host_faults import HostFaults
from tests.ledger.hosts import Host, Hosts, shared_secret
from tests.ledger.last_records import LastRecords
from tests.ledger.options import Options, Result
from tests.ledger.recovery import Seen, recoveries
from tests.ledger.restores import restores_of
from tests.ledger.scaling import Scaling
from tests.ledger.store_faults import StoreFaults, own_disks
from tests.ledger.values import (
    GROUPED_PARTITIONS,
    OUTPUTS,
    PARTITIONS,
    TABLES,
    TABLES_OF,
    Cut,
    Observed,
    Usage,
)
from tests.ledger.values_timed import INTERNAL_TABLES
from tests.ledger.watching import Look, Watcher
from tests.process.records import REQUEST_SECONDS, Feed, Reader
from tests.process.running import is_running
from tests.process.waiting import eventually, pause
from tests.releases import release_for

Say = Callable[[str], object]
START_SECONDS = 90.0
SETTLE_SECONDS = 120.0
# After the stop of every process: its transactions end when their time-out (hosts.SETTINGS) is over.
NO_TRANSACTION_SECONDS = 30.0
PROFILES_PER_SECOND_MAX = 20
# A payment for so many movements.
PAYMENTS_SHARE = 4
PROGRESS_SECONDS = 10.0
# Under load and without faults, at the end of a run that is long enough for a leak.
CALM_SECONDS, LONG_SECONDS = 45.0, 200.0


@contextmanager
def own_broker(options: Options, directory: Path) -> Iterator[Broker | None]:
    """The run's own cluster, with its data beside the hosts'; None when it has another one."""
    if not options.has_own_brokers:
        yield None
        return
    kafka = options.kafka or release_for(options.brokers)
    with Broker(brokers=options.brokers, data_dir=directory, kafka=kafka) as broker:
        yield broker


class Trial:
    """A run. Everything that it starts is ended when `stack` is."""

    def __init__(self, options: Options, prefix: str, directory: Path, stack: ExitStack, say: Say) -> None:
        self.options = options
        self._directory = directory
        self._say = say
        self._broker = stack.enter_context(own_broker(options, directory / "kafka"))
        bootstrap = self._broker.bootstrap if self._broker is not None else options.bootstrap
        assert bootstrap is not None
        self._bootstrap = bootstrap
        secret = shared_secret(directory) if options.hosts > 1 else None
        self.hosts = Hosts(
            [
                Host(
                    name,
                    prefix,
                    f"kafka://{bootstrap}",
                    directory / name,
                    options.workers,
                    secret=secret,
                    processing_guarantee=options.guarantee,
                )
                for name in (f"host{number}" for number in range(1, options.hosts + 1))
            ]
        )
        stack.enter_context(own_disks([host.run.state_dir for host in self.hosts.all]))
        stack.callback(self.hosts.close)
        self.names = Names(prefix, self.hosts.all[0].run.app_id)
        self._stack = stack
        self.reader = self._opened_reader()
        partitions = dict.fromkeys(self.names.written, PARTITIONS)
        partitions |= dict.fromkeys(("out2", "grouped", "changelog:orders"), GROUPED_PARTITIONS) | {"dead": 1}
        self.watcher = Watcher(
            bootstrap, {self.names.topic(name): (name, count) for name, count in partitions.items()}, timed="out3"
        )
        self.commits = Commits(bootstrap, self.names)
        self._wishes: deque[Wish] = deque()
        self._stores = StoreFaults(self.hosts, self.names.app_id)
        self.chaos = Chaos(self._actions(stack), say)
        self._scaling: Scaling | None = None
        if options.is_scaled:
            self._scaling = Scaling(self.hosts, self.chaos, options.seconds, say)
            stack.callback(self._scaling.close)
        # One iterator each, so that a feed can go on where another one was stopped.
        dates = Dates(f"movements {options.seed}"), Dates(f"payments {options.seed}")
        self._movements = movements(options.seed, options.accounts, wishes=self._wishes, dates=dates[0])
        self._payments = payments(options.seed, options.accounts, dates[1])
        self._profiles = later_profiles(options.seed, options.accounts)
        self._last = LastRecords(bootstrap, self.names, dates, self._movements, self._payments, self._profiles)

    def run(self) -> Result:
        """Do all of it."""
        begin = time.monotonic()
        self._make_topics()
        feeds = self._load()
        load_begin = time.monotonic()
        self._under_faults(self._faults())
        seen_end = time.monotonic()
        cut = self._cut()
        for feed in feeds:
            feed.stop()
        observed = self._end(feeds[0], cut)
        self._say("judging")
        violations = verdict(observed)
        if any(violations.values()):
            self._keep(observed)
        seen = Seen(self._looks(), self.watcher.arrivals, self.options.rate, load_begin, seen_end)
        return Result(
            self.options,
            violations,
            recoveries(self.chaos.done, seen),
            movements=len(observed.acked),
            refused=sum(len(feed.errors) for feed in feeds),
            evidence=evidence_of(observed) | {SKIPPED: ends_skipped(self._directory / "kafka")},
            seconds=time.monotonic() - begin,
        )

    def _faults(self) -> list[Fault]:
        options = self.options
        if options.is_scaled:
            return []
        return schedule(
            options.seed,
            options.seconds,
            options.mean_gap,
            with_brokers=options.has_own_brokers,
            kinds=options.kinds,
        )

    def _opened_reader(self) -> Reader:
        """A reader that can hear: one that asks a lone broker right after its pause may never do (librdkafka 5301)."""
        eventually(lambda: brokers_of(self._bootstrap), SETTLE_SECONDS, "the brokers name themselves")
        reader = Reader(self._bootstrap)
        self._stack.callback(reader.close)
        return reader

    def done(self) -> list[Done]:
        """The faults so far."""
        return self.chaos.done

    def _actions(self, stack: ExitStack) -> dict[str, Action]:
        events = EventFaults(self._wishes, self.options.accounts)
        actions = {**HostFaults(self.hosts).actions(), **events.actions(), **self._stores.actions()}
        if self._broker is not None:
            brokers = BrokerFaults(self._broker, self.hosts)
            stack.callback(brokers.close)
            actions |= brokers.actions()
        return actions

    def _make_topics(self) -> None:
        admin = AdminClient({"bootstrap.servers": self._bootstrap})
        new = [
            NewTopic(
                self.names.topic(name),
                num_partitions=GROUPED_PARTITIONS if name == "out2" else PARTITIONS,
                config={"retention.ms": "-1"},
            )
            for name in ("in", "names", "paid", *OUTPUTS)
        ]
        for made in admin.create_topics(new, operation_timeout=REQUEST_SECONDS).values():
            made.result(REQUEST_SECONDS)

    def _load(self) -> list[Feed]:
        """Start everything, with its state built and records flowing."""
        options, names = self.options, self.names.topic("names")
        Feed(self._bootstrap, names, first_profiles(max(options.profiles, options.accounts)), rate=None).run()
        self.hosts.start()
        self.hosts.until_running(START_SECONDS)
        self.watcher.start()
        self.commits.start()
        self._stack.callback(self.commits.stop)
        self.hosts.until_caught_up(self.reader, START_SECONDS + options.profiles / 10_000)
        self._say(f"{options.profiles:,} profiles are stored; {options.rate:,} movements a second from now on")
        updates = max(1, min(PROFILES_PER_SECOND_MAX, options.rate // 20))
        paid = max(1, options.rate // PAYMENTS_SHARE)
        feeds = [
            Feed(self._bootstrap, topic, rows, rate=rate, may_miss=True, stamp=stamp)
            for topic, rows, rate, stamp in (
                (self.names.topic("in"), self._movements, options.rate, stamp_of),
                (self.names.topic("paid"), self._payments, paid, stamp_of),
                (names, self._profiles, updates, None),
            )
        ]
        for feed in feeds:
            feed.start()
        return feeds

    def _under_faults(self, faults: Sequence[Fault]) -> None:
        self._say(f"{len(faults)} faults in {self.options.seconds:g} s, seed {self.options.seed}")
        begin = time.monotonic()
        told_at = begin

        def look() -> None:
            nonlocal told_at
            self.hosts.keep_up()
            now = time.monotonic()
            if now >= told_at + PROGRESS_SECONDS:
                told_at = now
                seen = sum(len(one.seen_at) for one in self.watcher.arrivals.values())
                self._say(f"{now - begin:7.1f} s  {seen:,} results seen, {len(self.chaos.done)} faults done")

        if self._scaling is not None:
            self._scaling.play(look)
        else:
            self.chaos.go_on(faults, self.options.seconds, look)
        self.chaos.settle(SETTLE_SECONDS)
        self.reader = self._opened_reader()
        self.hosts.until(is_running, SETTLE_SECONDS, "every task runs again after the faults")
        # What the last faults left behind is timed too; and a leak shows where nothing happens.
        self.chaos.go_on((), CALM_SECONDS if self.options.seconds >= LONG_SECONDS else 3.0, look)

    def _cut(self) -> Cut:
        """kill -9 of everything in the middle of the load; what counts then is read at rest."""
        self._say("cut: kill -9 of every host")
        for host in self.hosts.all:
            host.kill()
        topics = [self.names.topic(name) for name in self.names.written]
        eventually(
            lambda: all(self.reader.is_settled(topic) for topic in topics),
            NO_TRANSACTION_SECONDS,
            "no transaction is left of dead processes",
            lambda: str({place: ends for place, ends in self.reader.ends(topics).items() if ends[0] != ends[1]}),
        )
        cut = cut_of(self.reader, self.names, "the cut")
        for host in self.hosts.all:
            host.start()
        return cut

    def _end(self, feed: Feed, cut: Cut) -> Observed:
        """Let it catch up, end it in order, and read everything back."""
        begin = time.monotonic()
        caught_up: float | None = None
        try:
            self.hosts.until_caught_up(self.reader, self.options.catch_up_seconds)
            caught_up = time.monotonic() - begin
        except AssertionError as late:
            self._say(f"it has not caught up: {str(late)[-2000:]}")
        acked = dict(feed.acked)
        if caught_up is not None:
            self._say("the last records, behind which everything is over")
            acked |= self._last.send(acked, self._wishes)
            self.hosts.until_caught_up(self.reader, self.options.catch_up_seconds)
            self._last.until_over(self.reader, self.watcher, self.hosts, self._say)
        self._say("draining, and reading everything back")
        tables = {name: self.hosts.table(name) if caught_up is not None else {} for name in TABLES}
        if caught_up is not None:
            # A store that was damaged may have been read here for the first time, and is restored.
            self.hosts.until_caught_up(self.reader, SETTLE_SECONDS)
        codes = self.hosts.drain()
        for host in self.hosts.all:
            host.sampler.stop()
        if self._scaling is not None:
            codes |= self._scaling.exit_codes
        topic = self.names.topic
        every = [topic(name) for name in self.names.written]
        deadline = time.monotonic() + NO_TRANSACTION_SECONDS
        while not all(self.reader.is_settled(one) for one in every) and time.monotonic() < deadline:
            pause(0.2)
        ends = {
            (name, partition): found
            for name in (*self.names.written, "in", "names", "paid")
            for (_, partition), found in self.reader.ends([topic(name)]).items()
        }
        outputs = {name: logs_of(self.reader, topic(name)) for name in OUTPUTS}
        changelogs = {name: logs_of(self.reader, topic(f"changelog:{name}")) for name in (*TABLES, *INTERNAL_TABLES)}
        self.watcher.stop()
        return Observed(
            acked=acked,
            inputs=logs_of(self.reader, topic("in")),
            names=logs_of(self.reader, topic("names")),
            paid=logs_of(self.reader, topic("paid")),
            grouped=logs_of(self.reader, topic("grouped")),
            outputs=outputs,
            letters=letters_of(self.reader, self.names),
            letters_log=logs_of(self.reader, topic("dead"))[0],
            changelogs=changelogs,
            tables=tables,
            stores=stores_of(self._every_host(), self.names, cluster_id_of(self._bootstrap), TABLES_OF),
            cuts=[cut, cut_of(self.reader, self.names, "the end")],
            sights=dict(self.watcher.sights),
            ends=ends,
            claims=claims_of(self.reader, self.names),
            commits=self.commits.all(self.reader),
            usage=self._usage(),
            faults=[(one.at, one.undone_at or one.at) for one in self.chaos.done],
            restores=restores_of(self._looks(), self.watcher.positions, self._stores.damages),
            caught_up_seconds=caught_up,
            catch_up_seconds_max=self.options.catch_up_seconds,
            exit_codes=codes,
        )

    def _every_host(self) -> list[Host]:
        """Those too that came and went."""
        return [*self.hosts.all, *(self._scaling.others if self._scaling is not None else ())]

    def _keep(self, observed: Observed) -> None:
        """What was seen of a red run, to be looked at in Python: pickle.load gives (observed, looks, positions)."""
        with (self._directory / "observed.pickle").open("wb") as file:
            pickle.dump((observed, self._looks(), dict(self.watcher.positions)), file)

    def _looks(self) -> list[Look]:
        return sorted((look for host in self._every_host() for look in host.sampler.looks), key=lambda look: look.at)

    def _usage(self) -> dict[str, list[Usage]]:
        found: defaultdict[str, list[Usage]] = defaultdict(list)
        for host in self._every_host():
            for process, usage in host.sampler.usage.items():
                found[process] += usage
        return dict(found)


def run_trial(options: Options, prefix: str, directory: Path, say: Say) -> Result:
    """One run; whatever happens, nothing of it goes on afterwards."""
    with ExitStack() as stack:
        return Trial(options, prefix, directory, stack, say).run()
