"""Writes the control topic, as the one that leads: claims, snapshots, and the fences of slots.

    1 init_transactions(<app>-ctl)      fences the old leader's writes
    2 E = end of ctl, READ_UNCOMMITTED, asked for after 1; read ctl to E
    3 a snapshot of the next term in a transaction; read back

(docs/hosts.md.) Terms are those of the log: each has one claim, so a record of our term is ours. It
decides neither who claims nor what a snapshot says.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient

from streamcluster.errors import BrokerUnreachable, ConfigurationError, Fenced, StateIncompatible
from streamcluster.ids import SlotId
from streamcluster.kafka.config import coordinator_config
from streamcluster.kafka.fencing import fence, open_fencing
from streamcluster.kafka.hearing import SILENT, Connection
from streamcluster.kafka.opening import error_of, open_client
from streamcluster.kafka.verdicts import classify, is_taken_over
from streamcluster.settings import Settings

from ..dropped import Dropped
from ..records.signatures import Signatures
from ..records.snapshot import SNAPSHOT_KEY, Snapshot, control_topic, encode_snapshot, slot_transactional_id
from .reader import ControlReader
from .watch import describe

logger = logging.getLogger("streamcluster.coordinator")
_RETRY_SECONDS = 0.1
# From its fence to its record a claim takes 0.1 to 0.3 s. Who is fenced gives it that time, and goes on leading when
# no record comes: then it was an older leader that looked how its last write ended, or a claimer that died.
_RIVAL_SECONDS = 1.0
# A leader that runs writes its snapshot anew within this time when somebody else wrote to the topic.
_ANEW_SECONDS = 5.0


class Control:
    """One coordinator's access to the control topic. It leads from a `claim` until `Fenced` is raised.

    claim, write and close: one at a time. fence and catch_up: from any thread, at any time before close.

    Args:
        settings: of the app.
        signatures: of what is written and believed.
        dropped: told of what is not used.
        on_snapshot: called in the reader's thread for each committed snapshot, ours too, in order.
        on_unread: called in that thread for each record that is passed over; the leader is to write a newer one.
        on_failure: called in that thread, once: the topic was deleted, or made anew.
    """

    __slots__ = ("_admin", "_producer", "_reader", "_settings", "_signatures", "_term", "_topic")

    def __init__(
        self,
        settings: Settings,
        signatures: Signatures,
        dropped: Dropped,
        on_snapshot: Callable[[Snapshot], None],
        on_unread: Callable[[], None],
        on_failure: Callable[[StateIncompatible], None],
    ) -> None:
        self._settings = settings
        self._signatures = signatures
        self._topic = control_topic(settings.app_id)
        self._admin = open_client(AdminClient, coordinator_config(settings), Connection(SILENT))
        self._producer: Producer | None = None
        # That we lead in; None: we do not, or not any more.
        self._term: int | None = None
        self._reader = ControlReader(settings, self._admin, signatures, dropped, on_snapshot, on_unread, on_failure)

    @property
    def last(self) -> Snapshot | None:
        """The newest snapshot that was read."""
        return self._reader.last

    def topic_id(self, deadline: float) -> str:
        """The id that the brokers gave the control topic when it was made. Blocks.

        Raises:
            BrokerUnreachable: no answer before `deadline` (time.monotonic()).
            ConfigurationError: they do not tell it to us (the operator).
        """
        while True:
            left = max(0.1, deadline - time.monotonic())
            try:
                return str(describe(self._admin, self._topic, left).result().topic_id)
            except KafkaException as error:
                facts = error_of(error)
                if classify(facts) == "config":
                    raise ConfigurationError(f"topic {self._topic!r} cannot be described: {facts.str()}.") from error
                if time.monotonic() >= deadline:
                    raise BrokerUnreachable(f"the id of topic {self._topic!r} is not known: {facts.str()}.") from error
                time.sleep(_RETRY_SECONDS)

    def catch_up(self, deadline: float) -> Snapshot | None:
        """As `ControlReader.catch_up`."""
        return self._reader.catch_up(deadline)

    def begin(self, deadline: float) -> Snapshot | None:
        """As `catch_up`, once the newest record is readable. Raises StateIncompatible: it stays another one.

        Of what was last written, nothing is known then, so epochs could be given twice. A leader that runs writes
        what it knows anew.
        """
        self._reader.catch_up(deadline)
        until = min(deadline, time.monotonic() + _ANEW_SECONDS)
        if not self._reader.wait(lambda: self._reader.unread is None, until):
            raise self._foreign()
        return self._reader.last

    def is_listening(self) -> bool:
        """As `ControlReader.is_listening`."""
        return self._reader.is_listening()

    def claim(self, make: Callable[[Snapshot | None], Snapshot], deadline: float) -> Snapshot:
        """Fence whoever leads, and lead with what `make` makes of the newest snapshot. Blocks.

        Args:
            make: called once, with None when there is no snapshot. Its snapshot must have a greater term and epoch.
                What it raises ends the claim; the leader that there was goes on.
            deadline: time.monotonic().

        Raises:
            Fenced: another coordinator claimed in this very moment.
            BrokerUnreachable: not done in time; perhaps we lead, perhaps not: claim again.
            StateIncompatible: as `catch_up`, or the snapshot is too large.
            ConfigurationError: the transactional id or the topic cannot be used (the operator).
        """
        self._step_down()
        base: Snapshot | None = None
        made: Snapshot | None = None
        while True:
            self._reader.check()
            producer = open_fencing(self._settings, self._topic, _left(deadline))
            last = self._reader.catch_up(deadline)
            if last is None and self._reader.unread is not None:
                raise self._foreign()
            # A try before this one, whose outcome was unknown, may have been committed after all.
            if made is None or last != made:
                if made is not None and last != base:
                    raise self._fenced(last)
                base = last
                if made is None:
                    made = make(last)
                    assert last is None or made.term > last.term
                    assert last is None or made.epoch > last.epoch
                if not self._committed(producer, made, deadline):
                    continue
            self._read_back(made, deadline)
            self._producer, self._term = producer, made.term
            return made

    def write(self, snapshot: Snapshot, deadline: float) -> Snapshot:
        """Write the next snapshot of our term. Blocks. Returns the newest one of the log.

        That is `snapshot`, unless an earlier write raised BrokerUnreachable and turns out to be in the log with the
        same epoch or a newer one: then nothing is written, and what is next must be thought of again.

        Raises:
            Fenced: another coordinator leads. For good, until the next claim.
            BrokerUnreachable: it is not known whether it was written; write again.
            StateIncompatible, ConfigurationError: as `claim`.
        """
        rivals = 0
        while self._term is not None:
            assert snapshot.term == self._term
            self._reader.check()
            try:
                if self._producer is None and (found := self._reopen(snapshot, deadline)) is not None:
                    return found
                # Out of our hands while its outcome is not known, however this ends (I3).
                producer, self._producer = self._producer, None
                assert producer is not None
                if self._committed(producer, snapshot, deadline):
                    self._producer = producer
                    return snapshot
            except Fenced:
                rivals += 1
                if rivals > 1 or self._is_succeeded(deadline):
                    break
        self._step_down()
        raise self._fenced(self._reader.last)

    def fence(self, slot: SlotId, deadline: float) -> None:
        """Let nothing that has the slot now commit any more. Blocks; from any thread.

        Raises:
            BrokerUnreachable: not done at `deadline`.
            ConfigurationError: not allowed (the operator).
        """
        fence(self._settings, slot_transactional_id(self._settings.app_id, slot), _left(deadline))

    def close(self) -> None:
        """Let go, without a word in the log. Blocks for a fraction of a second."""
        self._step_down()
        self._reader.close()

    def _foreign(self) -> StateIncompatible:
        return StateIncompatible(
            f"topic {self._topic!r} holds what no coordinator of this app writes: {self._reader.unread}. Is it another "
            "app's topic? Choose another id. If somebody wrote there: stop every coordinator of the app, delete the "
            "topic, and start again."
        )

    def _step_down(self) -> None:
        self._producer = self._term = None

    def _reopen(self, snapshot: Snapshot, deadline: float) -> Snapshot | None:
        """Know how our last write ended (I3); the log's newest snapshot if nothing is left to write.

        It may fence a newer leader, which then does the same, finds its own term in the log, and goes on.
        """
        producer = open_fencing(self._settings, self._topic, _left(deadline))
        last = self._reader.catch_up(deadline)
        if last is None or last.term != snapshot.term:
            self._step_down()
            raise self._fenced(last)
        self._producer = producer
        return last if last.epoch >= snapshot.epoch else None

    def _committed(self, producer: Producer, snapshot: Snapshot, deadline: float) -> bool:
        """Write in one transaction; False: whether it was committed is known only to a new producer.

        Raises:
            Fenced: it was not, for another producer was opened.
            BrokerUnreachable: as False, and it is too late to look.
        """
        value = self._signatures.sign("snapshot", encode_snapshot(snapshot))
        try:
            producer.begin_transaction()
            # Without a callback for its outcome, which the commit has too: once fenced, both at once are too much for
            # the client's binding (it raises SystemError).
            producer.produce(self._topic, key=SNAPSHOT_KEY, value=value, partition=0)
            producer.commit_transaction(max(0.1, deadline - time.monotonic()))
            return True
        except KafkaException as error:
            facts = error_of(error)
            # A forgotten id is opened again: the log tells whether another leads.
            if is_taken_over(facts):
                raise Fenced(
                    f"another coordinator of {self._settings.app_id} claims to lead at this moment."
                ) from error
            if classify(facts) in ("config", "refused"):
                raise ConfigurationError(f"writing topic {self._topic!r} is refused: {facts.str()}.") from error
            if time.monotonic() >= deadline:
                raise BrokerUnreachable(f"writing topic {self._topic!r}: {facts.str()}.") from error
            logger.debug("writing topic %s again: %s", self._topic, facts.str())
            time.sleep(_RETRY_SECONDS)
            return False

    def _read_back(self, made: Snapshot, deadline: float) -> None:
        if not self._reader.wait(lambda: self.last is not None and self.last.epoch >= made.epoch, deadline):
            raise BrokerUnreachable(f"what was written to topic {self._topic!r} could not be read in time.")
        if self.last != made:
            raise self._fenced(self.last)

    def _is_succeeded(self, deadline: float) -> bool:
        """Whether the log shows another term within the time that a claim takes."""
        term, until = self._term, min(deadline, time.monotonic() + _RIVAL_SECONDS)
        return self._reader.wait(lambda: self.last is not None and self.last.term != term, until)

    def _fenced(self, last: Snapshot | None) -> Fenced:
        if last is None:
            return Fenced(f"topic {self._topic!r} has lost its records: was it deleted? Stop every coordinator first.")
        where = f": {last.leader.host}, pid {last.leader.pid} on {last.leader.machine}" if last.leader else ""
        return Fenced(f"another coordinator of {self._settings.app_id} leads now, in term {last.term}{where}.")


def _left(deadline: float) -> float:
    return max(0.05, deadline - time.monotonic())
