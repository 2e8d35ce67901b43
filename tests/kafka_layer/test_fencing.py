"""Opening a producer by its transactional id, as the handles for that come and go."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streamcluster.kafka import fencing
from streamcluster.kafka.hearing import SILENT, Connection
from streamcluster.settings import make_settings

SILENT_TRIES = 3


class Handle:
    """A producer whose brokers are too slow for the first ones."""

    def __init__(self, number: int) -> None:
        self.number = number

    def list_topics(self, _topic: str, timeout: float) -> None:
        """An answer, at once."""
        assert timeout > 0

    def init_transactions(self, seconds: float) -> None:
        """Its request is still on its way when the time is over."""
        assert seconds > 0
        if self.number < SILENT_TRIES:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


def test_a_handle_without_an_answer_is_gone_before_the_next_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it may send its request once more, behind that of the next one, and fence it when it is in use."""
    opened: list[weakref.ref[Handle]] = []

    def open_client(_kind: Any, _config: Mapping[str, object], _connection: Connection) -> Handle:
        gc.collect()
        assert [one for one in opened if one() is not None] == []
        handle = Handle(len(opened))
        opened.append(weakref.ref(handle))
        return handle

    monkeypatch.setattr(fencing, "open_client", open_client)
    owner: Any = fencing.open_owner(make_settings({"id": "app"}, source="test"), "slot", {}, Connection(SILENT), 60.0)
    assert owner.number == SILENT_TRIES
