"""Where a task begins is committed before the task is open, with whatever the worker commits next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamcluster.engine.values import Committed
from streamcluster.ids import TP, TaskId
from streamcluster.testing import Driver
from tests.engine.turning import Hand, Slow

NEW = TaskId(7, 3)
AT = {TP("elsewhere", 3): Committed(11)}


def begin(hand: Hand) -> list[int]:
    """Ask for it; the list has an entry once it is committed."""
    done: list[int] = []
    hand.worker.engine.transaction.begin_at(NEW, dict(AT), lambda: done.append(1))
    return done


@pytest.fixture
def driver() -> Iterator[Driver]:
    """An app whose event 0 writes, and waits for ever."""
    with Driver(Slow(writes_first=True, sends=10, transaction_timeout=10.0).app, partitions=1) as driver:
        driver.worker.outbox_records_max = 3
        driver.crash()
        yield driver


def test_place_where_a_task_begins_is_committed_at_once(driver: Driver) -> None:
    """Nothing else has to happen in the worker for it."""
    hand = Hand(driver)
    done = begin(hand)
    hand.step()

    assert done == [1]
    assert hand.worker.committed[TP("elsewhere", 3)] == Committed(11)
    assert not hand.worker.engine.transaction.first


def test_it_outlives_the_abort_of_a_transaction(driver: Driver) -> None:
    """An event that binds the transaction is overdue, and all in it roll back: the place is committed all the same."""
    hand = Hand(driver)
    hand.send("numbers", ("a", 0))
    hand.step()
    assert hand.worker.engine.transaction.unfinished
    done = begin(hand)
    hand.step()
    assert done == []
    hand.step(seconds=30.0)
    hand.step()

    assert done == [1]
    assert hand.worker.committed[TP("elsewhere", 3)] == Committed(11)
