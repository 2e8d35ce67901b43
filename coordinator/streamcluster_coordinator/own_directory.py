"""Directories that this user alone can write: made so, found so, or refused with what to do. And files in them.

Who may write where we keep state can lay links in our way, or take the directory away and lay down another. It knows
nothing of what is kept there.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS = stat.S_IRWXG | stat.S_IRWXO
ROOT = 0


class NotOurs(Exception):
    """Somebody else can write a path, or made it; the operator must act. The text says which, who, and what to do."""


def make_own(directory: Path) -> None:
    """Make `directory` if need be, with all rights for us and none for others. Raises as `check_own`."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    check_own(directory)


def check_own(directory: Path) -> None:
    """See that `directory` is ours alone.

    One that others may only read is closed to them. The one that it is in may be root's, and a group's to write; that
    group can then put another one in its place.

    Raises:
        NotOurs: another user owns it, others may write it, or others may replace it.
        OSError: it cannot be made or looked at.
    """
    link = directory.lstat()
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (os.geteuid(), ROOT):
        raise NotOurs(f"{directory} is a link that {_user(link.st_uid)} made: remove it")
    for parent in {directory.parent, directory.resolve().parent}:
        _check_parent(parent)
    _check(directory)


def close_to_others(directory: Path) -> None:
    """The same for one that may be there, in one that is ours. A link to another disk is followed."""
    if directory.exists():
        _check(directory)


def _check(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstat(handle)
        if found.st_uid != os.geteuid():
            raise NotOurs(
                f"{directory} belongs to {_user(found.st_uid)}, and this is {_user(os.geteuid())}: run this as the "
                "owner, or remove it if nobody needs it"
            )
        if found.st_mode & OTHERS_WRITE:
            raise NotOurs(
                f"others may write {directory} (mode {stat.S_IMODE(found.st_mode):04o}), so what is in it may be "
                "theirs: remove it, or see that all in it is yours and `chmod 700` it"
            )
        if found.st_mode & OTHERS:
            os.fchmod(handle, stat.S_IMODE(found.st_mode) & ~OTHERS)
    finally:
        os.close(handle)


def _check_parent(parent: Path) -> None:
    found = parent.stat()
    # In a sticky one (/tmp) only its owner can take an entry away.
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise NotOurs(f"anybody may write {parent}, and so replace what is in it: `chmod o-w` it")
    if found.st_uid not in (os.geteuid(), ROOT):
        raise NotOurs(
            f"{parent} belongs to {_user(found.st_uid)}, who may replace what is in it, and this is "
            f"{_user(os.geteuid())}"
        )


def open_own(path: Path, flags: int) -> int:
    """Open or make a file in a directory that is ours, 0600, and never what a link leads to. Returns a descriptor.

    Raises:
        NotOurs: it is a link, or no file, or has a second name somewhere.
        OSError: it cannot be opened.
    """
    # Not to wait for the other end of a pipe.
    handle = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(handle)
        raise NotOurs(f"{path} is no plain file, or has a second name: remove it")
    return handle


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"
