"""What an import opens that forks would share, and random numbers after a fork; without a broker."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import random
import selectors
import socket
import sqlite3
import subprocess
import sys
import textwrap
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamcluster.protocol.messages import Description
from streamcluster_coordinator.checking import describe
from streamcluster_coordinator.shell.fleet import Fleet
from streamcluster_worker.user.at_import import in_one_line, only_listens, opened_now, shared_since
from streamcluster_worker.user.randomness import Generators

Opening = Callable[[Path, contextlib.ExitStack], None]


def connection(_: Path, stack: contextlib.ExitStack) -> None:
    """A TCP connection."""
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    stack.enter_context(socket.create_connection(server.getsockname()))


def database(directory: Path, stack: contextlib.ExitStack) -> None:
    """A database in a file."""
    one = stack.enter_context(contextlib.closing(sqlite3.connect(directory / "a.db")))
    one.execute("create table t (a)")


def loop(_: Path, stack: contextlib.ExitStack) -> None:
    """An event loop."""
    stack.enter_context(contextlib.closing(asyncio.new_event_loop()))


def log(directory: Path, stack: contextlib.ExitStack) -> None:
    """A file that is written."""
    stack.enter_context((directory / "a.log").open("a"))


def reading(directory: Path, stack: contextlib.ExitStack) -> None:
    """A file that is read: all would move one position."""
    (directory / "rows").write_bytes(b"1\n2\n")
    stack.enter_context((directory / "rows").open("rb"))


def thread(_: Path, stack: contextlib.ExitStack) -> None:
    """A thread that waits for work."""
    wake = threading.Event()
    one = threading.Thread(target=wake.wait, name="idler")
    one.start()
    stack.callback(one.join)
    stack.callback(wake.set)


def process(_: Path, stack: contextlib.ExitStack) -> None:
    """A process."""
    one = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    stack.callback(one.wait)
    stack.callback(one.kill)


@pytest.mark.parametrize(
    ("opening", "words"),
    [
        (connection, "a connection to 127.0.0.1:"),
        (database, "the open file "),
        (loop, "an event loop (epoll)"),
        (log, "a.log"),
        (reading, "rows"),
        (thread, "the thread 'idler'"),
        (process, "the process "),
    ],
)
def test_what_is_opened_is_found_and_named(tmp_path: Path, opening: Opening, words: str) -> None:
    """In words that say which; when it is closed again, it is not found."""
    before = opened_now()
    with contextlib.ExitStack() as stack:
        opening(tmp_path, stack)
        found, opened = shared_since(before)
        assert words in in_one_line(found)
        assert not only_listens(opened)
    # Threads of other tests may have opened something else meanwhile.
    assert words not in in_one_line(shared_since(before)[0])


def test_what_is_harmless_is_not_found(tmp_path: Path) -> None:
    """Devices, and files that are mapped to be read: nobody moves a position in those."""
    (tmp_path / "model").write_bytes(b"x" * 5000)
    before = opened_now()
    with (
        open(os.devnull, "r+b"),
        open("/dev/urandom", "rb"),
        (tmp_path / "model").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ),
    ):
        assert shared_since(before)[0] == []


def test_sockets_that_listen_are_told_apart() -> None:
    """Of several workers one could open them; with a selector beside them, it is more than that."""
    before = opened_now()
    with socket.create_server(("127.0.0.1", 0)) as server:
        words, opened = shared_since(before)
        assert words == [f"a socket that listens on 127.0.0.1:{server.getsockname()[1]}"]
        assert only_listens(opened)
        with selectors.EpollSelector():
            assert not only_listens(shared_since(before)[1])


@pytest.fixture
def describing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Description]]:
    """Has a fork server import a module with this text and an app, as `streamcluster start` does.

    makes_app: the text has one.
    """
    fleets: list[Fleet] = []
    monkeypatch.chdir(tmp_path)

    def make(text: str, *, makes_app: bool = False) -> Description:
        name = f"imported_{len(fleets)}"
        app = "" if makes_app else f"import streamcluster\napp = streamcluster.App({name!r})\n"
        (tmp_path / f"{name}.py").write_text(f"{textwrap.dedent(text)}\n{app}")
        monkeypatch.setenv("STREAMCLUSTER_APP", f"{name}:app")
        fleets.append(Fleet())
        fleets[-1].open()
        return describe(fleets[-1], f"{name}:app", {"broker": "kafka://127.0.0.1:1"})

    yield make
    for fleet in fleets:
        fleet.close()


def test_an_import_that_opens_nothing_stays_in_the_fork_server(describing: Callable[..., Description]) -> None:
    """What it wrote is there once."""
    assert describing("open('count', 'a').write('x')").notes == ()
    assert Path("count").read_text() == "x"


def test_an_import_that_opens_something_is_left_to_each_process(describing: Callable[..., Description]) -> None:
    """The note has the place, also when a library's function opened it; the directory and environment are as before."""
    Path("library.py").write_text("import socket\ndef pair():\n    return socket.socketpair()\n")
    [note] = describing(
        """
        import os, library
        open('count', 'a').write('x')
        seen = os.getcwd(), os.environ.get("BEFORE")
        os.environ["BEFORE"] = "1"
        os.chdir("/")
        assert seen[1] is None, seen
        ends = library.pair()
        """
    ).notes
    assert "a pair of sockets (" in note
    assert "imported_0.py, line 8: ends = library.pair()" in note
    assert Path("count").read_text() == "xx"


def test_processes_that_an_import_started_are_ended(describing: Callable[..., Description]) -> None:
    """Each process that imports the app has its own."""
    [note] = describing(
        """
        import subprocess, sys
        own = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open('pids', 'a').write(f"{own.pid} ")
        """
    ).notes
    first, second = map(int, Path("pids").read_text().split())
    assert f"the process {first} (" in note
    assert not Path(f"/proc/{first}").exists()
    os.kill(second, 9)


def test_a_server_of_the_import_stays_where_it_is(describing: Callable[..., Description]) -> None:
    """Two workers could not have the port; the note says that no worker answers."""
    [note] = describing(
        "import socket\nserver = socket.create_server(('127.0.0.1', 0))\nopen('count', 'a').write('x')"
    ).notes
    assert "a socket that listens on 127.0.0.1:" in note
    assert "no worker answers there" in note
    assert Path("count").read_text() == "x"


def test_windows_that_cost_very_much_are_said(describing: Callable[..., Description]) -> None:
    """An event that writes 3,600 rows is a hundred times as slow as one that writes one, and nothing says why."""
    [note] = describing(
        """
        import operator
        from datetime import timedelta
        from streamcluster import App
        app = App("windows")
        costly = app.Table("costly", default=int).hopping(3600, 1, grace=0)
        app.Table("in-panes", default=int).hopping(3600, 1, grace=0, merge=operator.add)
        app.Table("minutes", default=int).hopping(3600, 60, grace=0)
        app.Table("days", default=int).tumbling(timedelta(days=7), tz="Europe/Berlin")
        """,
        makes_app=True,
    ).notes
    assert note.startswith("table 'costly': each event is in 3,600 windows")


def test_generators_without_a_seed_are_seeded_again() -> None:
    """Python's and numpy's, wherever they are kept; those that somebody gave a seed to go on."""
    np = pytest.importorskip("numpy")
    generators, others = Generators(), random.Random()
    with generators.noticed():
        made: dict[str, Any] = {
            "random": random.Random(),
            "numpy": np.random.default_rng(),
            "state": np.random.RandomState(),
            "seeded": random.Random(7),
            "seeded numpy": np.random.default_rng(7),
            "seeded state": np.random.RandomState(7),
            "seeded later": random.Random(),
        }
        made["seeded later"].seed(9)
        made["random subclass"] = type("Own", (random.Random,), {})()
    seed, before = random.Random.seed, {name: repr(state_of(one)) for name, one in made.items()}
    generators.reseed()
    changed = {name for name, one in made.items() if repr(state_of(one)) != before[name]}
    assert changed == {"random", "numpy", "state", "random subclass"}
    assert random.Random.seed is seed
    assert others.random() != made["random"].random()


def test_uuid1_goes_on_with_another_sequence_after_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """libuuid keeps the sequence that it began with, and forks make the same ones at the same moment."""
    monkeypatch.setattr(uuid, "_generate_time_safe", getattr(uuid, "_generate_time_safe", None))
    generators = Generators()
    with generators.noticed():
        uuid.uuid1()
    generators.reseed()
    assert len({uuid.uuid1().clock_seq for _ in range(100)}) > 50


def state_of(generator: Any) -> object:
    """Where a generator is."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    return generator.get_state() if hasattr(generator, "get_state") else generator.bit_generator.state
