"""One host that loses its brokers, its network or its time: nothing is lost and nothing comes twice."""

from __future__ import annotations

import time

import pytest

from tests.hosts.brokers import NAMES
from tests.hosts.conftest import LONG, Measured, Rack, StartApp, only_long
from tests.hosts.load import Load
from tests.process.waiting import pause

CUT_SECONDS = 10.0
# Longer than a transaction may be open, so that the brokers have ended it when the host is back.
FREEZE_SECONDS = 12.0
AWAY_SECONDS = 60.0 if LONG else 20.0
# Usually a few seconds, which is printed at the end; the bound is for a machine that does other things too.
BACK_SECONDS = 90.0


def healed(rack: Rack, one: Load) -> float:
    """End every fault of the network; the seconds from that until what had piled up is processed."""
    rack.faults.heal()
    return one.until_caught_up(time.monotonic(), BACK_SECONDS)


@only_long
@pytest.mark.timeout(300)
def test_a_host_that_is_cut_from_the_brokers_comes_back(rack: Rack, load: StartApp, measured: Measured) -> None:
    """Nothing arrives either way for ten seconds, with connections open."""
    one = load("a")

    rack.faults.cut("a", NAMES)
    pause(CUT_SECONDS)
    back = healed(rack, one)

    measured(f"cut of {CUT_SECONDS:.0f} s, caught up {back:.1f} s after it")
    assert one.finish() == []


@only_long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("deaf", ["a", "brokers"])
def test_a_one_way_cut_is_no_worse(rack: Rack, load: StartApp, measured: Measured, deaf: str) -> None:
    """Requests arrive and answers do not, or nothing arrives: either way the outcome of a commit is not known."""
    one = load("a")

    pair = (NAMES, "a") if deaf == "a" else ("a", NAMES)
    rack.faults.cut_from(*pair)
    pause(CUT_SECONDS)
    back = healed(rack, one)

    measured(f"cut of {CUT_SECONDS:.0f} s, caught up {back:.1f} s after it")
    assert one.finish() == []


@only_long
@pytest.mark.timeout(300)
def test_a_host_whose_link_is_down_comes_back(rack: Rack, load: StartApp, measured: Measured) -> None:
    """Every attempt to send fails at once, which must not end anything either."""
    one = load("a")

    rack.faults.down("a")
    pause(CUT_SECONDS)
    back = healed(rack, one)

    measured(f"down for {CUT_SECONDS:.0f} s, caught up {back:.1f} s after it")
    assert one.finish() == []


@only_long
@pytest.mark.timeout(300)
def test_lost_packets_only_take_time(rack: Rack, load: StartApp, measured: Measured) -> None:
    """A tenth of what arrives at the host and at a broker is lost for a while."""
    one = load("a")

    begin = time.monotonic()
    rack.faults.lose("a", 10)
    rack.faults.lose(NAMES[0], 10)
    pause(CUT_SECONDS)
    back = healed(rack, one)

    measured(f"longest silence {one.watch.longest(begin):.1f} s, caught up {back:.1f} s after it")
    assert one.finish() == []


@only_long
@pytest.mark.timeout(300)
def test_a_slow_network_only_takes_time(rack: Rack, load: StartApp, measured: Measured) -> None:
    """A tenth of a second each way, more or less, so that packets overtake each other, and some are lost."""
    one = load("a")

    begin = time.monotonic()
    rack.faults.delay("a", 100, jitter=80, loss=1)
    pause(CUT_SECONDS)
    slow = one.watch.longest(begin)
    back = healed(rack, one)

    measured(f"longest silence {slow:.1f} s, caught up {back:.1f} s after it")
    assert one.finish() == []


@only_long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("node", [1, 2, 3])
def test_a_killed_broker_is_done_without(rack: Rack, load: StartApp, measured: Measured, node: int) -> None:
    """The other two have everything, whichever it was: records flow on before it is back."""
    one = load("a")

    fault = time.monotonic()
    rack.brokers.kill(node)
    caught_up = one.until_caught_up(fault, BACK_SECONDS)
    measured(f"first outputs {one.watch.first_after(fault):.1f} s, caught up {caught_up:.1f} s after the kill")
    rack.brokers.bring_back()

    assert one.finish() == []


@only_long
@pytest.mark.timeout(AWAY_SECONDS + 300)
def test_all_brokers_may_be_away(rack: Rack, load: StartApp, measured: Measured) -> None:
    """kill -9 of all of them; the app waits, and works as soon as they are back."""
    one = load("a")

    rack.brokers.kill()
    pause(AWAY_SECONDS)
    rack.brokers.bring_back()
    back = one.until_caught_up(time.monotonic(), BACK_SECONDS)

    measured(f"away for {AWAY_SECONDS:.0f} s, caught up {back:.1f} s after they were back")
    assert one.finish() == []


@only_long
@pytest.mark.timeout(300)
def test_a_frozen_host_goes_on_where_it_was(rack: Rack, load: StartApp, measured: Measured) -> None:
    """Coordinator and workers stop for longer than their transactions may be open, and then go on."""
    one = load("a")

    rack.network.freeze("a")
    pause(FREEZE_SECONDS)
    rack.network.thaw("a")
    back = one.until_caught_up(time.monotonic(), BACK_SECONDS)

    measured(f"frozen for {FREEZE_SECONDS:.0f} s, caught up {back:.1f} s after it")
    assert one.finish() == []
