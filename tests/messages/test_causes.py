"""What the system refused, in words that say what to do: by errno, and in the text of a library in C."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from streamcluster.causes import cause_in, cause_of, why, why_no_process
from streamcluster_worker.state.store_errors import CorruptStore, StoreUnavailable, store_error

CAUSES = [
    (errno.EMFILE, "files and sockets open, which is its limit: raise it with `ulimit -n`"),
    (errno.ENFILE, "fs.file-max"),
    (errno.ENOSPC, "the disk is full: make room"),
    (errno.EDQUOT, "quota"),
    (errno.EROFS, "mounted read-only: mount it writable"),
    (errno.EACCES, "has no permission"),
    (errno.EPERM, "is not allowed to"),
    (errno.ENOMEM, "the memory is used up"),
    (errno.EIO, "the disk has an error"),
]


@pytest.mark.parametrize(("number", "sentence"), CAUSES)
def test_each_errno_has_its_own_sentence(number: int, sentence: str) -> None:
    """Of Python's error, and of RocksDB's text on the lock file, for which there was one word once."""
    assert sentence in why(OSError(number, os.strerror(number)))
    text = f"IO error: While open a file for lock: /state/1_0/LOCK: {os.strerror(number)}"
    error = store_error(Path("/state/1_0"), Exception(text))
    assert isinstance(error, StoreUnavailable)
    assert sentence in str(error)
    assert "another process" not in str(error)
    assert text in str(error)
    others = [other for code, other in CAUSES if code != number]
    assert not any(other in str(error) for other in others)


def test_sentences_name_the_limit_and_the_user() -> None:
    """Numbers are the ones of this process."""
    assert f"user {os.geteuid()} has no" in why(PermissionError(errno.EACCES, "x"))


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOLCK])
def test_lock_of_another_process_is_said_as_such(number: int) -> None:
    """Only when it is."""
    text = f"IO error: While lock file: /s/1_0/LOCK: {os.strerror(number)}"
    assert "another process has it open" in str(store_error(Path("/s/1_0"), Exception(text)))


def test_what_is_not_known_is_the_systems_own_word() -> None:
    """And no guess about disks."""
    assert cause_of(OSError(errno.EDOM, "odd")) is None
    assert why(OSError(errno.EDOM, "odd")) == "odd"
    odd = store_error(Path("/s"), Exception("IO error: something new"))
    assert str(odd) == "/s: RocksDB cannot read or write it (IO error: something new)"
    assert isinstance(store_error(Path("/s"), Exception("Corruption: bad block")), CorruptStore)


def test_process_that_cannot_be_started_names_the_limit_of_processes() -> None:
    """EAGAIN of fork is no time-out."""
    assert "pids limit" in why_no_process(BlockingIOError(errno.EAGAIN, "x"))
    assert "pids limit" in (cause_of(RuntimeError("can't start new thread")) or "")
    assert "disk is full" in (cause_of(ExceptionGroup("many", [ValueError(), OSError(errno.ENOSPC, "x")])) or "")
    librdkafka = "Failed to create producer: Failed to create thread: Resource temporarily unavailable (11)"
    assert "pids limit" in (cause_in(librdkafka) or "")
    assert "the memory is used up" in why_no_process(OSError(errno.ENOMEM, "x"))
