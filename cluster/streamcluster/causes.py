"""Why the system refused something, and what whoever runs this can do: one sentence for each errno that people meet.

Libraries in C give text alone, in which the system's own words are looked for. It knows no file and no process of ours.
"""

from __future__ import annotations

import errno
import os
import resource

from .printable import text_of

_FILES = "raise it with `ulimit -n`, or LimitNOFILE= in the systemd unit, or --ulimit nofile= of a container"
_NO_THREAD = ("can't start new thread", "Failed to create thread", "failed to create broker thread")
_PROCESSES = "raise `ulimit -u`, or TasksMax= in the systemd unit, or the pids limit of the container"
NO_MORE_PROCESSES = f"this user or container may have no more processes and threads: {_PROCESSES}"
_WRITABLE = "mount it writable, or put this on another one (in a container a volume, an emptyDir, or --tmpfs)"
# In the order in which they are looked for in a text.
_SENTENCES = {
    errno.ENFILE: "this machine may open no more files: raise fs.file-max of sysctl",
    errno.EMFILE: "this process has {files} files and sockets open, which is its limit: " + _FILES,
    errno.ENOSPC: "the disk is full: make room (`df -h` and `df -i` say of what)",
    errno.EDQUOT: "the disk quota of {user} is used up: make room, or raise it",
    errno.EROFS: "the file system is mounted read-only: " + _WRITABLE,
    errno.EACCES: "{user} has no permission: give it to that user (`chown`), or run as the owner",
    errno.EPERM: "{user} is not allowed to: the owner, a security profile or a mount option forbids it",
    errno.ENOMEM: "the memory is used up: give the machine or the container more, or set a smaller budget",
    errno.EIO: "the disk has an error: `dmesg` says which",
    errno.ENOTDIR: "a file is where a directory must be",
    errno.ENAMETOOLONG: "the path is too long for the file system: choose a shorter one",
    errno.ELOOP: "a link is in the place of a file",
}


def cause_of(error: BaseException) -> str | None:
    """What the system refused, and what to do; None: that is not in this error, or nobody has a word for it."""
    if isinstance(error, BaseExceptionGroup):
        return next((cause for one in error.exceptions if (cause := cause_of(one)) is not None), None)
    number = error.errno if isinstance(error, OSError) else None
    return cause_in(text_of(error)) if number is None else _said(_SENTENCES.get(number))


def cause_in(text: str) -> str | None:
    """The same of what a library says."""
    if any(words in text for words in _NO_THREAD):
        return NO_MORE_PROCESSES
    return _said(next((said for number, said in _SENTENCES.items() if os.strerror(number) in text), None))


def _said(sentence: str | None) -> str | None:
    if sentence is None:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sentence.format(files=f"{limit:,}", user=f"user {os.geteuid()}")


def why(error: OSError) -> str:
    """The cause if there is a word for it, else the system's own."""
    return cause_of(error) or error.strerror or text_of(error)


def why_no_process(error: OSError) -> str:
    """The same of a process or thread that could not be started."""
    if error.errno == errno.EAGAIN:
        return NO_MORE_PROCESSES
    return why(error)
