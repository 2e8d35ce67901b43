"""Which tests pytest-xdist gives to one process: those that share what is costly to start, as brokers.

Every other test goes to whichever process is free. The groups of pytest-xdist 3.8 (`xdist_group`) are without effect in
pytest 9.2: each process started brokers of its own for each file that has some.
"""

from __future__ import annotations

from typing import Any

import pytest

# How the names of tests begin, below tests/.
TOGETHER = (
    "bench/test_quick.py",
    "broker/test_broker.py",
    "hosts/",
    "process/test_rights.py",
    "process/test_secured_brokers.py",
    "stores/test_damaged_logs.py",
    "test_tidy.py",
)
# Those that take the fixtures of these names, and some of their files that do not.
SHARED = {
    "own_broker": (
        "coordinator/test_control_faults.py",
        "coordinator/test_status_bus.py::test_an_outage_costs",
        "kafka/test_reset.py",
        "process/test_brokers_away.py",
        "worker/test_clients.py::test_a_loop_goes_on",
        "worker/test_deaf.py::test_a_transaction_does_not_wait",
    ),
    "three_brokers": (
        "coordinator/test_control_leader.py::test_a_reader_waits_for_the",
        "worker/test_three_brokers.py",
    ),
}


def unit_of(test: str) -> str:
    """What all tests that go to the same process at once have in common: the name in the table, or their own."""
    name = test.removeprefix("tests/")
    for fixture, begins in SHARED.items():
        if name.startswith(begins):
            return fixture
    return next((begin for begin in TOGETHER if name.startswith(begin)), test)


def scheduler(config: pytest.Config, log: Any) -> Any:
    """That of pytest-xdist, with these units."""
    # Here, since tests also run without it.
    from xdist.scheduler.loadscope import LoadScopeScheduling

    made = LoadScopeScheduling(config, log)
    made._split_scope = unit_of
    return made
