"""Opens producers by transactional id, which fences whoever had it. It knows no leader, slot or task.

librdkafka cannot ask for a fence as such, so a fence is a producer that is opened, and dropped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from confluent_kafka import KafkaException, Producer

from ..errors import Fenced
from ..settings import Settings
from .config import fence_config
from .hearing import SILENT, Connection
from .opening import connect, error_of, open_client
from .verdicts import classify, error_for, is_silence

# An open transaction of a dead predecessor is aborted by the first handle's request, and that handle then backs off for
# 0.5 s; a fresh handle does not. So it does when it asks before a connection is up, so the cluster is asked something
# else first. Measured on Kafka 4.1: 0.04 s without an open transaction, 0.12 s with one; unconnected 0.19 and 0.47 s.
# Longer each time: a request that was only slow may arrive after the one of the next handle, and fences that. For the
# same reason a handle is gone, and sends nothing any more, before the next one is opened.
_TRIES_SECONDS = (0.05, 0.1, 0.2, 0.4, 1.0, 2.0)
# Then twice as long each time, since a slow broker is asked again from the start; by a fresh handle still, since one
# that hears nothing may never hear anything (see hearing.py).
_TRY_SECONDS = 4.0
_TRY_SECONDS_MAX = 60.0
# The request takes two answers, of which one needs a connection: each try gets at least so many times what the first
# answer took, or all short tries would be in vain where the brokers are far away or busy.
_ANSWERS = 2
_AGAIN_SECONDS = 0.02


def open_owner(
    settings: Settings, transactional_id: str, config: Mapping[str, object], connection: Connection, timeout: float
) -> Producer:
    """Open a producer that owns `transactional_id`: when this returns, every earlier owner is fenced. From any thread.

    Args:
        settings: the app's settings.
        transactional_id: as in `config`, for people.
        config: of the producer.
        connection: gets the news of the brokers.
        timeout: seconds for all of it.

    Raises:
        Fenced: another owner took the id in this very moment (the peer).
        BrokerUnreachable: no answer within `timeout` (the operator).
        ConfigurationError: not allowed, or a setting that the brokers refuse (the operator).
    """
    deadline = time.monotonic() + timeout
    what = f"Opening transactional id {transactional_id} on {settings.broker} within {timeout:.0f} s"

    def open_one() -> Producer:
        return open_client(Producer, config, connection)

    for patience in _patience():
        began = time.monotonic()
        producer = connect(open_one(), open_one, settings, deadline - began, what)
        seconds = max(patience, _ANSWERS * (time.monotonic() - began))
        try:
            producer.init_transactions(max(0.05, min(seconds, deadline - time.monotonic())))
            return producer
        except KafkaException as error:
            facts = error_of(error)
            if classify(facts) in ("fenced", "config") or time.monotonic() >= deadline:
                raise error_for(what, facts) from error
            del producer
            if not is_silence(facts):
                # Some answers come at once as long as nothing has changed.
                time.sleep(_AGAIN_SECONDS)
    raise AssertionError("it is tried until the deadline")


def open_fencing(settings: Settings, transactional_id: str, timeout: float) -> Producer:
    """As `open_owner`, for a coordinator: it may write a snapshot of who owns what."""
    config = fence_config(settings, transactional_id)
    return open_owner(settings, transactional_id, config, Connection(SILENT), timeout)


def fence(settings: Settings, transactional_id: str, timeout: float) -> None:
    """Let nothing that has the id now commit any more. From any thread.

    Raises:
        BrokerUnreachable: not done within `timeout` seconds (the operator).
        ConfigurationError: not allowed (the operator).
    """
    try:
        # The handle is dropped: the fence is in the broker.
        open_fencing(settings, transactional_id, timeout)
    except Fenced:
        # By somebody who came after us, and so after whoever had it.
        return


def _patience() -> Iterator[float]:
    last = _TRY_SECONDS
    yield from _TRIES_SECONDS
    while True:
        yield last
        last = min(2 * last, _TRY_SECONDS_MAX)
