"""The network of the tests: what is cut is cut, one way is one way, and nothing stays behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.hosts.faults import Faults
from tests.hosts.namespace import NAMESPACES
from tests.hosts.network import PREFIX, Network, remove_leftovers
from tests.hosts.tools import NetworkMissing
from tests.process.waiting import eventually

HEARD_SECONDS = 5.0
SILENCE_SECONDS = 0.3
PROCESS_SECONDS = 30.0


def made_network() -> Network:
    """Three hosts, or a skip that says what is missing."""
    try:
        return Network(("a", "b", "c")).__enter__()
    except NetworkMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """The network of these tests, which leave it as they found it."""
    made = made_network()
    yield made
    made.remove()


@pytest.fixture
def faults(network: Network) -> Iterator[Faults]:
    """What can go wrong between them, taken back at the end."""
    made = Faults(network)
    yield made
    made.heal()


@contextlib.contextmanager
def socket_at(network: Network, name: str) -> Iterator[socket.socket]:
    """A datagram socket on the address of `name`."""
    with network.entered(name), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((network.address(name), 7000))
        yield one


def is_heard(network: Network, source: str, target: str, seconds: float = SILENCE_SECONDS) -> bool:
    """Whether something that source sends arrives at target."""
    with socket_at(network, target) as there, socket_at(network, source) as here:
        there.settimeout(seconds)
        here.sendto(b"?", (network.address(target), 7000))
        try:
            return there.recv(1) == b"?"
        except TimeoutError:
            return False


def timed(ask: Callable[[], bool]) -> float:
    """How many seconds something takes that must be true."""
    begin = time.monotonic()
    assert ask()
    return time.monotonic() - begin


def stopped(pid: int) -> bool:
    """Whether a process is stopped."""
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


def sleeper(within: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    """A process with a child, which both wait for ever."""
    child = "import subprocess; subprocess.run(['/bin/sleep', '600'])"
    return subprocess.Popen([*within, sys.executable, "-c", child], start_new_session=True)


def sleeps(network: Network, name: str) -> bool:
    """Whether a sleeper is at `name` and its child is what it is to be; before that it is its parent's copy."""
    names = [psutil.Process(pid).name() for pid in network.pids(name)]
    return len(names) == 2 and "sleep" in names


def test_hosts_hear_each_other_until_they_are_cut(network: Network, faults: Faults) -> None:
    """A cut is silent both ways, spares others, and ends with `heal`."""
    assert is_heard(network, "a", "b", HEARD_SECONDS)

    faults.cut("a", ["b"])

    assert [is_heard(network, "a", "b"), is_heard(network, "b", "a")] == [False, False]
    assert is_heard(network, "a", "c", HEARD_SECONDS)
    faults.heal()
    assert is_heard(network, "a", "b", HEARD_SECONDS)
    assert is_heard(network, "b", "a", HEARD_SECONDS)


def test_one_way_cut_is_one_way(network: Network, faults: Faults) -> None:
    """Packets from a to b are gone, those from b to a arrive."""
    faults.cut_from("a", "b")

    assert [is_heard(network, "a", "b"), is_heard(network, "b", "a", HEARD_SECONDS)] == [False, True]


def test_lost_packets_are_lost(network: Network, faults: Faults) -> None:
    """All of them, if so many are asked for."""
    faults.lose("b", 100)

    assert not is_heard(network, "a", "b")


def test_a_host_whose_link_is_down_is_told_so(network: Network, faults: Faults) -> None:
    """Sending fails at once; with the link up again it works."""
    faults.down("a")

    with pytest.raises(OSError, match="unreachable"):
        is_heard(network, "a", "b")
    faults.heal()
    assert is_heard(network, "a", "b", HEARD_SECONDS)


def test_delayed_packets_take_longer(network: Network, faults: Faults) -> None:
    """At least as long as asked for, each way, until `heal`."""
    assert is_heard(network, "a", "b", HEARD_SECONDS)

    faults.delay("a", 150)

    assert timed(lambda: is_heard(network, "a", "b", HEARD_SECONDS)) >= 0.15
    assert timed(lambda: is_heard(network, "b", "a", HEARD_SECONDS)) >= 0.15
    faults.heal()
    # A delay that is still there would make each of them too slow.
    eventually(lambda: timed(lambda: is_heard(network, "a", "b", HEARD_SECONDS)) < 0.15, 30, "packets are quick again")


def test_frames_lost_on_a_wire_are_lost(network: Network, faults: Faults) -> None:
    """All of them, if so many are asked for."""
    faults.delay("a", 1, loss=100)

    assert not is_heard(network, "a", "b")


def test_a_host_is_frozen_thawed_and_killed_as_a_whole(network: Network) -> None:
    """A signal reaches the children too, and no process of another host."""
    one, other = sleeper(network.within("a")), sleeper(network.within("b"))
    eventually(lambda: sleeps(network, "a") and sleeps(network, "b"), PROCESS_SECONDS, "all run")
    pids, others = network.pids("a"), network.pids("b")

    network.freeze("a")
    eventually(lambda: all(map(stopped, pids)), PROCESS_SECONDS, "all are stopped")
    assert not any(map(stopped, others))
    network.thaw("a")
    eventually(lambda: not any(map(stopped, pids)), PROCESS_SECONDS, "all go on")
    taken = network.kill("a")

    assert one.wait(PROCESS_SECONDS) == -signal.SIGKILL
    assert taken < 1
    assert other.poll() is None
    network.kill("b")
    other.wait(PROCESS_SECONDS)


def test_nothing_is_left_behind() -> None:
    """Neither a namespace nor a process; the machine's interfaces are the same all the time."""
    before = psutil.net_if_addrs().keys()
    network = made_network()
    process = sleeper(network.within("a"))
    # It is not where we look for it before nsenter is.
    eventually(lambda: sleeps(network, "a"), PROCESS_SECONDS, "it runs")

    network.remove()

    assert process.wait(PROCESS_SECONDS) == -signal.SIGKILL
    assert not [path for path in NAMESPACES.iterdir() if path.name.startswith(network.begin)]
    assert psutil.net_if_addrs().keys() == before


LEAVE = """
import os, sys
from tests.hosts.network import Network
Network(("a",)).__enter__()
os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(0)"])
"""


def test_what_a_killed_run_left_is_removed(network: Network) -> None:
    """The next run knows it by the dead process in the name, and spares those of the living."""
    left = subprocess.Popen([sys.executable, "-c", LEAVE], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert left.wait(PROCESS_SECONDS) == 0
    assert [path for path in NAMESPACES.iterdir() if path.name.startswith(f"{PREFIX}{left.pid}-")]

    remove_leftovers()

    assert not [path for path in NAMESPACES.iterdir() if path.name.startswith(f"{PREFIX}{left.pid}-")]
    assert is_heard(network, "a", "b", HEARD_SECONDS)
