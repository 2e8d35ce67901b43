"""What a store that cannot be used says, and who must act on it."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

from streamcluster.stores import StoreFailed


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
    if (refused := too_many_files(error)) is not None:
        return StoreUnavailable(path, refused)
    if text.startswith("Corruption") or "checksum mismatch" in text or "No such file" in text:
        return CorruptStore(path, f"RocksDB finds it damaged ({text})")
    if text.startswith("Invalid argument") and "existing comparator" in text:
        return CorruptStore(path, f"a RocksDB database of another program ({text})")
    if "LOCK" in text:
        return StoreUnavailable(path, f"another process has it open ({text})")
    if "No space left" in text:
        then = "make room and start again; what is committed is in Kafka, and nothing is lost"
        return StoreUnavailable(path, f"the disk is full: {then} ({text})")
    return StoreUnavailable(path, f"RocksDB cannot read or write it: is the disk full, or not ours? ({text})")


def too_many_files(error: Exception) -> str | None:
    """What to do when it is the limit of open files that was reached; None: it is not."""
    text = str(error)
    if os.strerror(errno.ENFILE) in text:
        return f"this machine may open no more files: raise fs.file-max of sysctl ({text})"
    if os.strerror(errno.EMFILE) not in text:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    what = "raise it with `ulimit -n`, or LimitNOFILE= in the systemd unit"
    return f"this process has {limit:,} files and sockets open, which is its limit: {what} ({text})"
