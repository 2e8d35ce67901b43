"""The notes of what a slot's worker has in hand, as a file in the app's directory on this host (engine/in_hand.py).

A mapped file: what is stored in it is the kernel's, however the process ends. It is not forced to the disk, for when
the machine dies no event is to blame.
"""

from __future__ import annotations

import logging
import mmap
import os
from pathlib import Path

from streamcluster.engine.in_hand import InHand, size_of
from streamcluster.protocol.messages import WorkerConfig

logger = logging.getLogger("streamcluster")
DIRECTORY = "in_hand"


def open_in_hand(config: WorkerConfig) -> InHand:
    """Map the slot's notes, and take in what follows from the end of the process before. Blocks for a moment.

    On a disk that refuses they are kept in memory: a record that kills the worker is then not found out.
    """
    tps = config.topology.noted_partitions()
    path = Path(config.state_dir) / DIRECTORY / str(config.slot)
    try:
        buffer = _mapped(path, size_of(len(tps)))
    except OSError as error:
        logger.warning("%s cannot be used (%s): a record that kills the worker is not found out", path, error)
        return InHand.in_memory(tps)
    notes = InHand(buffer, tps, config.topology.hash())
    notes.learn(config.death)
    return notes


def _mapped(path: Path, size: int) -> mmap.mmap:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(handle).st_size != size:
            # Of another shape of the app: there is nobody who has it mapped, the slot has one process at a time.
            os.ftruncate(handle, 0)
            # A store into a page for which the disk has no room would be a bus error.
            os.posix_fallocate(handle, 0, size)
        return mmap.mmap(handle, size)
    finally:
        os.close(handle)
