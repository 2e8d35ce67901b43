"""What a store that cannot be used says, and who must act on it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from streamcluster.causes import cause_of
from streamcluster.stores import StoreFailed

# Of a lock file: another process, or this one, has it.
_LOCKED = (os.strerror(errno.EAGAIN), os.strerror(errno.ENOLCK), "lock hold by current process")


class CorruptStore(StoreFailed):
    """The directory is damaged, of another format, or of another app, cluster or task: set it aside, restore."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}.")
        self.path = path
        self.reason = reason


class StoreUnavailable(StoreFailed, OSError):
    """The disk or the directory refuses: full, no permission, or held by another process. The operator must act."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def store_error(path: Path, error: Exception) -> CorruptStore | StoreUnavailable:
    """Say who must act on a RocksDB error: rocksdict has one class for all, and RocksDB's own words tell them apart."""
    text = str(error)
    if (cause := cause_of(error)) is not None:
        lost = "; what is committed is in Kafka, and nothing is lost" if "disk" in cause else ""
        return StoreUnavailable(path, f"{cause}{lost} ({text})")
    if text.startswith("Corruption") or "checksum mismatch" in text or "No such file" in text:
        return CorruptStore(path, f"RocksDB finds it damaged ({text})")
    if text.startswith("Invalid argument") and "existing comparator" in text:
        return CorruptStore(path, f"a RocksDB database of another program ({text})")
    if any(word in text for word in _LOCKED):
        return StoreUnavailable(path, f"another process has it open ({text})")
    return StoreUnavailable(path, f"RocksDB cannot read or write it ({text})")
