"""A wire on which frames take time and get lost: what netem does, as a process, for kernels that have no netem.

Run in the bridge's namespace: `slow_wire.py ONE OTHER MILLISECONDS JITTER LOSS`. It makes two tap devices of these
names and carries frames from each to the other. Each frame has its own delay, so that with jitter they overtake each
other, as with netem. Imports nothing of ours: it starts in a moment.
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import sys
import time

_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_FRAME_BYTES_MAX = 65_536


def open_tap(name: str) -> int:
    """Make a tap device, which lives as long as the descriptor returned."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return descriptor


def carry(one: int, other: int, milliseconds: int, jitter: int, loss: float) -> None:
    """Carry frames until we are killed; the heap is bounded by what arrives within the longest delay."""
    # Due time, order of arrival, where to, the frame.
    waiting: list[tuple[float, int, int, bytes]] = []
    order = itertools.count()
    targets = {one: other, other: one}
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, target, frame = heapq.heappop(waiting)
            os.write(target, frame)
        ready, _, _ = select.select([one, other], [], [], max(0.0, waiting[0][0] - now) if waiting else None)
        for source in ready:
            frame = os.read(source, _FRAME_BYTES_MAX)
            if random.uniform(0, 100) >= loss:
                delay = max(0.0, milliseconds + random.uniform(-jitter, jitter)) / 1000
                heapq.heappush(waiting, (time.monotonic() + delay, next(order), targets[source], frame))


if __name__ == "__main__":
    carry(open_tap(sys.argv[1]), open_tap(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
