"""The least of several watermarks: what T is, by those whose watermarks they are, and which of them holds it back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Name = TypeVar("Name")


def time_of_inputs(before: int, inputs: Iterable[tuple[int, bool]]) -> int:
    """T, by what it was and each input's watermark and whether it is idle.

    All idle: the largest, since nobody is waited for. Inputs that are behind T, because they were left out, do not
    count until they have caught up.
    """
    known = list(inputs)
    live = [watermark for watermark, is_idle in known if not is_idle]
    if not live:
        return max([before, *(watermark for watermark, _ in known)])
    return min([watermark for watermark in live if watermark >= before], default=before)


@dataclass(frozen=True, slots=True)
class Awaited(Generic[Name]):
    """Who lets T go on next. counts: T is not beyond it; else T stands until it has caught up."""

    name: Name
    watermark: int
    counts: bool


def awaited(time: int, inputs: Mapping[Name, tuple[int, bool]]) -> Awaited[Name] | None:
    """By T and what `time_of_inputs` made it of; None: all are idle."""
    live = {name: watermark for name, (watermark, is_idle) in inputs.items() if not is_idle}
    waited = {name: watermark for name, watermark in live.items() if watermark >= time}
    if waited:
        name = min(waited, key=waited.__getitem__)
    elif live:
        name = max(live, key=live.__getitem__)
    else:
        return None
    return Awaited(name, live[name], bool(waited))
