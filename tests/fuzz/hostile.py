"""Objects that a loop in C is given, and which act against it: whenever one is called, anything may happen to the loop.

They call back, raise, lie about lengths, change lists that they handed out, suspend or not, and swallow what is thrown.
"""

from __future__ import annotations

import random
import types
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

# How deep what is called may call back, and how much a world does until it is over.
_DEPTH_MAX = 4
_ACTS_MAX = 150


class HostileError(Exception):
    """What hostile objects raise."""


class OddError(BaseException):
    """Not an Exception."""


class Event:
    """What a loop never keeps."""


@types.coroutine
def _pause() -> Generator[None, Any, Any]:
    return (yield)


class World:
    """Loops, what they were given, and what may happen to them.

    given: values that came out of loops; wrong: what no loop may raise.
    """

    def __init__(self, module: Any, source: random.Random, acts: list[Callable[[World], None]]) -> None:
        self.module = module
        self.source = source
        self.given = 0
        self.wrong: list[BaseException] = []
        self.loops: list[Any] = []
        self.readers: list[Any] = []
        self.run = object()
        self.cursor = Cursor(self)
        # A run's values and timestamps, and the columns of a topic.
        self.lists: list[list[Any]] = [[*range(20)], [*range(1000, 1021)], [], [], []]
        self._acts = acts
        self._depth = 0
        self._left = _ACTS_MAX

    def is_alive(self) -> bool:
        return self._left > 0

    def again(self) -> None:
        """As much more may happen."""
        self._left = _ACTS_MAX

    def act(self) -> None:
        """Anything."""
        self._left -= 1
        if self._left < 0:
            raise HostileError("nothing more is allowed")
        if self._depth >= _DEPTH_MAX or (self._depth and self.source.random() < 0.5):
            return
        self._depth += 1
        try:
            self.source.choice(self._acts)(self)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 (anything, but for what `saw` says)
            self.saw(error)
        finally:
            self._depth -= 1

    def saw(self, error: BaseException | None) -> None:
        """Note what no loop may raise."""
        if isinstance(error, (SystemError, AssertionError)):
            self.wrong.append(error)

    def kept(self) -> int:
        """How many values were kept."""
        return sum(isinstance(one, bytes) for one in self.lists[3])

    def loop(self) -> Any:
        """One of the loops, mostly the latest."""
        return self.loops[-1] if self.source.random() < 0.7 else self.source.choice(self.loops)

    def error(self) -> BaseException:
        errors = (HostileError("x"), OddError("x"), StopIteration(3), StopAsyncIteration(), GeneratorExit(), OSError())
        return self.source.choice(errors)

    def odd(self) -> list[Any]:
        """Objects of wrong types, and numbers that are too large."""
        source = self.source
        objects: list[Any] = [None, True, 0, -1, 2**31, 2**63 - 1, -(2**63), 2**63, 2**70, 1.5, b"x", "text", (), {}]
        objects += [
            [],
            object(),
            int,
            Event,
            Event(),
            Number(self),
            Number(self),
            iter([1]),
            iter(()),
            type("Named", (bytes,), {})(b"x"),
        ]
        objects += [self.encode, self.cursor, Step(self), Bare(self), self.coroutine(), self.agent()]
        objects += [source.choice(self.lists), *([self.loop()] if self.loops else [])]
        return objects

    def damaged(self, arguments: list[Any], share: float) -> list[Any]:
        """Some of them wrong, and sometimes too few or too many."""
        if self.source.random() < share / 2:
            return self.source.choice([arguments[:-1], [*arguments, None], []])
        return [self.source.choice(self.odd()) if self.source.random() < share else one for one in arguments]

    # What a loop is given

    def next_run(self) -> Any:
        """What brings the next run."""
        self.act()
        if self.source.random() < 0.1:
            raise self.error()
        return self.source.choice([*[self.coroutine()] * 5, Step(self), Bare(self), self.source.choice(self.odd())])

    async def coroutine(self) -> Any:
        """Suspends or not, swallows or not."""
        self.act()
        for _ in range(self.source.choice((0, 0, 1, 3))):
            try:
                await _pause()
            except BaseException:
                if self.source.random() < 0.7:
                    raise
            self.act()
        if self.source.random() < 0.2:
            raise self.error()
        return self.source.choice((None, 1, (1, 2), StopIteration(1), self.run))

    async def agent(self) -> AsyncIterator[Any]:
        """What an agent yields."""
        while self.is_alive():
            self.act()
            try:
                if self.source.random() < 0.2:
                    await _pause()
                yield self.source.choice((1, 2, None, "x", b"", (1, 2), Event(), StopIteration(1), object()))
            except BaseException:
                if self.source.random() < 0.7:
                    raise
            if self.source.random() < 0.02:
                raise self.error()

    def iterator(self) -> Any:
        """No generator: an asynchronous iterator of another kind."""
        return Asynchronous(self)

    def encode(self, value: object) -> Any:
        """What a value is sent as."""
        if self.source.random() < 0.3:
            self.act()
        if self.source.random() < 0.05:
            raise self.error()
        return b"%d" % id(value) if self.source.random() < 0.7 else self.source.choice([None, b"x" * 50, *self.odd()])

    def keep_arguments(self) -> list[Any]:
        """What `keep` gets."""
        handed, times, *columns = self.lists
        if self.source.random() < 0.7:
            handed[:], times[:] = range(20), range(1000, 1021)
        if self.source.random() < 0.1:
            times[self.source.randrange(len(times)) if times else 0 :] = [Number(self), *self.odd(), *range(5)]
        self.cursor.iterator_in_hand = iter(handed)
        next(self.cursor.iterator_in_hand, None)
        left = self.source.choice([self.cursor.iterator_in_hand.__length_hint__, Liar(self)])
        first = self.source.choice((-1, -1, -1, 0, 5, -20, 2**63 - 1, -(2**63)))
        sure = self.source.choice((2**63 - 1, 2**63 - 1, 1005, -5))
        look_at = self.source.choice((10**6, 10**6, 5, -1))
        return self.damaged([self.run, handed, left, times, first, *columns, look_at, sure], 0.01)


class Cursor:
    """Acts when it is asked what is at hand."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.iterator_in_hand: Any = iter(())

    @property
    def run(self) -> Any:
        world = self._world
        if world.source.random() < 0.1:
            world.act()
        if world.source.random() < 0.05:
            return world.source.choice([object(), None])
        return world.run

    @property
    def iterator(self) -> Any:
        world = self._world
        world.act()

        def acts(_: object) -> bool:
            world.act()
            return world.source.random() < 0.5

        handed = world.lists[0]
        ways: list[Any] = [
            iter(handed),
            iter(handed),
            filter(acts, handed),
            map(acts, handed),
            iter((1, 2)),
            Step(world),
        ]
        ways += [Bare(world), (acts(1) for _ in handed), handed, zip(filter(acts, handed), handed, strict=False)]
        return world.source.choice([*ways, *ways, world.source.choice(world.odd())])


class Liar:
    """Says anything of how many are left."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __call__(self) -> Any:
        self._world.act()
        if self._world.source.random() < 0.05:
            raise self._world.error()
        return self._world.source.choice((0, 5, 19, 20, 21, -1, -(10**6), 2**63 - 1, -(2**63), 2**70, None, "x"))


class Number:
    """Runs code when it is asked for a number."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __index__(self) -> int:
        self._world.source.choice(self._world.lists).clear()
        self._world.act()
        return self._world.source.choice((1, 2**62))


class Bare:
    """An iterator without more."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __iter__(self) -> Any:
        return self

    def __await__(self) -> Any:
        return self

    def __next__(self) -> Any:
        self._world.act()
        way = self._world.source.randrange(6)
        if way < 2:
            return None
        if way < 4:
            raise StopIteration(self._world.source.choice((None, 1, (1, 2))))
        raise self._world.error()


class Step:
    """What is waited for, with all that it can be asked."""

    def __init__(self, world: World) -> None:
        self._bare = Bare(world)

    def __iter__(self) -> Any:
        return self

    def __await__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self._bare)

    def send(self, _value: object) -> Any:
        return next(self._bare)

    def throw(self, *_error: object) -> Any:
        return next(self._bare)

    def close(self) -> None:
        next(self._bare)


class Asynchronous:
    """Brings whatever as the next value."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __aiter__(self) -> Any:
        return self

    def __anext__(self) -> Any:
        return self._world.next_run()
