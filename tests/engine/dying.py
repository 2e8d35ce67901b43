"""The end of a simulated process in the middle of user code, and what comes after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from streamcluster import boundary
from streamcluster.engine import instance
from streamcluster.engine.in_hand import InHand, size_of
from streamcluster.testing import Driver

DEATH = "killed by signal 11 (segmentation fault)"
DEATHS_MAX = 12


class Died(KeyboardInterrupt):
    """The process is gone, there and then: asyncio lets this through."""


@pytest.fixture(autouse=True)
def death_is_nobodys_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of ours sees the end of its process; whatever else user code raises is a failure of its event."""
    of_others = boundary.failure_of

    async def failure_of(error: BaseException) -> BaseException:
        if isinstance(error, Died):
            raise error
        return await of_others(error)

    monkeypatch.setattr(instance, "failure_of", failure_of)


class Lives:
    """A driver whose process may die and is replaced, with what it leaves in its notes."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._tps = driver.worker._topology.noted_partitions()
        self._buffer = bytearray(size_of(len(self._tps)))
        self.deaths = 0
        self._begin(None)
        driver.crash()

    def _begin(self, death: str | None) -> None:
        self._buffer = bytearray(self._buffer)
        self._driver.worker.in_hand = InHand(self._buffer, self._tps, "test")
        self._driver.worker.in_hand.learn(death)

    def go_through(self, act: Callable[[], None]) -> None:
        """Act, and replace the process until it stays alive."""
        while True:
            try:
                act()
                return
            except Died:
                self.deaths += 1
                assert self.deaths <= DEATHS_MAX, "it dies again and again"
                self._begin(DEATH)
                end_process(self._driver)
                act = self._driver.crash


def end_process(driver: Driver) -> None:
    """Let nothing that is ready to run go on."""
    for running in driver.worker.engine.tasks.values():
        for coroutine in running.instances:
            coroutine.end()
    others = asyncio.all_tasks(driver._loop)
    for task in others:
        task.cancel()

    async def wait() -> None:
        await asyncio.gather(*others, return_exceptions=True)

    driver.run(wait())
