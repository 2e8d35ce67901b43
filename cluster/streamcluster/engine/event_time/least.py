"""The least of several watermarks: what T is, by those whose watermarks they are."""

from __future__ import annotations

from collections.abc import Iterable


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
