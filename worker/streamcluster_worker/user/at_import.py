"""What an import opens that workers forked afterwards would share: connections, files, event loops, threads, processes.

Two workers that read from one connection get each other's answers; a thread is not there after a fork, nor is what it
was to do. So such a module is imported after the fork. It looks at this process through /proc, and knows no app.
"""

from __future__ import annotations

import linecache
import os
import signal
import socket
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from streamcluster.processes import own_children

# Devices that have no position and no other end.
_HARMLESS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/pts/")
_ANONYMOUS = {
    "anon_inode:[eventpoll]": "an event loop (epoll)",
    "anon_inode:[eventfd]": "an event descriptor",
    "anon_inode:[io_uring]": "an event loop (io_uring)",
}
# An event loop has three descriptors, a Kafka client dozens.
_NAMED_MAX = 4
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
Trace = Callable[[FrameType, str, Any], Any]


class Opened(msgspec.Struct, frozen=True):
    """What a process has. descriptors: number -> what it is; threads: Python's; children: process ids."""

    descriptors: dict[int, str]
    threads: dict[int, str]
    children: frozenset[int]


def opened_now() -> Opened:
    """What this process has open."""
    descriptors: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        # The one that listed them is closed by now.
        with suppress(FileNotFoundError):
            descriptors[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    threads = {thread.ident or 0: thread.name for thread in threading.enumerate()}
    return Opened(descriptors, threads, frozenset(own_children()))


def shared_since(before: Opened) -> tuple[list[str], Opened]:
    """What was opened since then and would be shared, in words, and what it is."""
    now = opened_now()
    mapped = Path("/proc/self/maps").read_text(errors="replace")
    new = {
        number: target
        for number, target in now.descriptors.items()
        if before.descriptors.get(number) != target and not _is_harmless(number, target, mapped)
    }
    threads = {ident: name for ident, name in now.threads.items() if ident not in before.threads}
    children = now.children - before.children
    words = [
        *(_descriptor_in_words(number, target) for number, target in sorted(new.items())),
        *(f"the thread {name!r}" for name in threads.values()),
        *(f"the process {child} ({_command_of(child)})" for child in sorted(children)),
    ]
    return list(dict.fromkeys(words)), Opened(new, threads, children)


def only_listens(opened: Opened) -> bool:
    """Nothing but sockets that listen, and threads. Each worker could open those only if it were the only one."""
    return bool(opened.descriptors) and not opened.children and all(map(_listens, opened.descriptors))


def end_children() -> None:
    """End all children of this process, of which none was started by what runs now."""
    for child in own_children():
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _listens(number: int) -> bool:
    duplicate = os.dup(number)
    try:
        with socket.socket(fileno=duplicate) as sock:
            return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        # It is no socket, and nobody else closes the copy.
        os.close(duplicate)
        return False


def in_one_line(words: list[str]) -> str:
    """The first few of them."""
    more = len(words) - _NAMED_MAX
    return ", ".join(words[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _is_harmless(number: int, target: str, mapped: str) -> bool:
    if target.startswith(_HARMLESS):
        return True
    # mmap keeps a descriptor of its own, of which nobody reads the position.
    return target.startswith("/") and f" {target}\n" in mapped and not _is_writable(number)


def _is_writable(number: int) -> bool:
    for line in Path(f"/proc/self/fdinfo/{number}").read_text().splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return True


def _descriptor_in_words(number: int, target: str) -> str:
    if target.startswith("socket:"):
        return _socket_in_words(number)
    if target.startswith("pipe:"):
        return "a pipe"
    return _ANONYMOUS.get(target, f"the open file {target}" if target.startswith("/") else target)


def _socket_in_words(number: int) -> str:
    with socket.socket(fileno=os.dup(number)) as sock:
        own, peer = "", ""
        with suppress(OSError):
            own = _address(sock.getsockname())
        with suppress(OSError):
            peer = _address(sock.getpeername())
        if sock.family == socket.AF_UNIX and not own and not peer:
            return "a pair of sockets"
        if _listens(number):
            return f"a socket that listens on {own}"
        return f"a connection to {peer}" if peer else f"a socket ({own or 'not connected'})"


def _address(address: Any) -> str:
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}"
    return address if isinstance(address, str) else repr(address)


def _command_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "gone"


@contextmanager
def places_of_opening() -> Iterator[list[str]]:
    """Note the lines, on the level of modules that are no library's, during which something was opened.

    Slow: it looks after each such line. Gives "file, line n: text", in order.
    """
    found: list[str] = []
    count = _count()

    def look(frame: FrameType, line: int) -> None:
        nonlocal count
        now = _count()
        if now > count:
            name = frame.f_code.co_filename
            text = linecache.getline(name, line).strip()
            found.append(f"{name}, line {line}" + (f": {text}" if text else ""))
        count = now

    def trace(frame: FrameType, event: str, _: Any) -> Trace | None:
        code = frame.f_code
        if event != "call" or code.co_name != "<module>" or code.co_filename.startswith(("<", *_LIBRARIES)):
            return None
        at = frame.f_lineno

        def lines(inner: FrameType, event: str, _: Any) -> Trace:
            nonlocal at
            if event in ("line", "return"):
                look(inner, at)
                at = inner.f_lineno
            return lines

        return lines

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield found
    finally:
        sys.settrace(before)


def _count() -> int:
    return len(os.listdir("/proc/self/fd")) + threading.active_count()
