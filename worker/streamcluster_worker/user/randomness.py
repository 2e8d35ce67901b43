"""Random numbers that differ from worker to worker: what nobody gave a seed to is seeded again after a fork.

Python's own generator and OpenSSL's do that themselves, and `uuid4`, `secrets` and `SystemRandom` ask the kernel. What
somebody gave a seed to is left alone: then the same numbers everywhere are what was asked for.
"""

from __future__ import annotations

import gc
import random
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# What numpy takes from the kernel when it is given no seed has 128 bits.
_GIVEN_SEED_MAX = 2**64


class Generators:
    """Those that were made before the fork. Look with `noticed` around the imports, and `reseed` in each worker."""

    __slots__ = ("_found", "_has_uuid1")

    def __init__(self) -> None:
        self._found: list[Any] = []
        # libuuid has begun a sequence, which forked processes would go on with side by side.
        self._has_uuid1 = False

    @contextmanager
    def noticed(self) -> Iterator[None]:
        """Notice who is made without a seed meanwhile, and is still there at the end."""
        unseeded: set[int] = set()
        seed, make_uuid1 = random.Random.seed, getattr(uuid, "_generate_time_safe", None)

        def noticed_seed(own: random.Random, a: Any = None, version: int = 2) -> None:
            (unseeded.add if a is None else unseeded.discard)(id(own))
            seed(own, a, version)

        def noticed_uuid1() -> Any:
            self._has_uuid1 = True
            return make_uuid1() if make_uuid1 is not None else None

        random.Random.seed = noticed_seed  # type: ignore[method-assign, assignment]
        if make_uuid1 is not None:
            uuid._generate_time_safe = noticed_uuid1  # type: ignore[attr-defined]
        try:
            yield
        finally:
            random.Random.seed = seed  # type: ignore[method-assign]
            if make_uuid1 is not None:
                uuid._generate_time_safe = make_uuid1  # type: ignore[attr-defined]
            self._found += [one for one in _all_of(random.Random) if id(one) in unseeded]
            self._found += filter(_has_no_seed, _all_of(*_numpy_kinds()))

    def reseed(self) -> None:
        """Seed them from the kernel."""
        for one in self._found:
            if isinstance(one, random.Random):
                one.seed()
            else:
                bits = _bits_of(one)
                bits.state = type(bits)().state
        if self._has_uuid1:
            # Python's own way takes another sequence for each.
            uuid._generate_time_safe = None  # type: ignore[attr-defined]


def _numpy_kinds() -> tuple[type, ...]:
    """numpy's generators, the one of its module functions (`numpy.random.rand`) too; none when nobody imported it."""
    numpy_random = sys.modules.get("numpy.random")
    return () if numpy_random is None else (numpy_random.Generator, numpy_random.RandomState)


def _all_of(*kinds: type) -> list[Any]:
    # type(), not isinstance(): that runs code of proxies.
    return [one for one in gc.get_objects() if type(one) in kinds or issubclass(type(one), kinds)] if kinds else []


def _bits_of(generator: Any) -> Any:
    bits = getattr(generator, "_bit_generator", None)
    return generator.bit_generator if bits is None else bits


def _has_no_seed(generator: Any) -> bool:
    # None: numpy.random.seed(number) or RandomState(number).
    entropy = getattr(getattr(_bits_of(generator), "seed_seq", None), "entropy", None)
    return isinstance(entropy, int) and entropy > _GIVEN_SEED_MAX


GENERATORS = Generators()
