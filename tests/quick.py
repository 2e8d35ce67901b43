"""Which tests `scripts/test --quick` runs: those that need no broker and start no process.

What asks for the fixture of a broker is known by that, the others are named here. One that is not and starts a process
fails in a quick run, so that it gets its line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fnmatch import fnmatch

import pytest

# What Python tells its audit hooks when a process is started.
STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"})
BROKERS = frozenset({"broker", "own_broker"})
# How the names of tests begin, below tests/.
NOT_QUICK = (
    "bench/test_placement.py",
    "bench/test_quick.py",
    "broker/test_broker.py",
    "broker/test_installation.py",
    "broker/test_quick_start.py",
    "broker/test_storage.py",
    "cli/test_commands.py",
    "cli/test_demo.py",
    "cli/test_ended_import.py",
    "cli/test_hosts.py",
    "cli/test_interrupted_start.py",
    "cli/test_lazy_commands.py::test_a_short_command_imports_no_coordinator",
    "cli/test_local_user.py",
    "cli/test_logs.py",
    "cli/test_running_app.py",
    "cli/test_streams.py",
    "coordinator/test_assignment.py::test_assignment_does_not_depend_on_the_hash_seed",
    "coordinator/test_coordination.py",
    "coordinator/test_fleet.py",
    "coordinator/test_instance.py::test_second_start_is_refused",
    "coordinator/test_places.py::test_user_without_a_name",
    "deploy/",
    # The first 200 seeds are enough for a quick run.
    "engine/test_any_schedule.py::test_results_are_those_of_a_fold_under_any_schedule[[]range(2??,",
    "hosts/test_many_hosts.py",
    "hosts/test_network.py",
    "hosts/test_one_host.py",
    "ledger/test_ledger.py",
    "memory/",
    "process/test_[!c]",
    "simulation/",
    "stores/",
    "test_readme.py",
    "worker/test_at_import.py",
    "worker/test_inventory.py",
    "worker/test_open_files.py",
    "worker/test_queries.py::test_closing_waits",
    "worker/test_shard.py::test_killed_writer",
    "worker/test_shard.py::test_rocks_store_keeps_rows_and_offsets",
    "worker/test_shard.py::test_write_to_a_full_disk",
    "worker/test_three_brokers.py",
    "worker_pure/test_children.py",
    "worker_pure/test_memory_limit.py::test_a_real_cgroup",
)


def is_quick(item: pytest.Item) -> bool:
    """Whether a quick run has this test."""
    name = item.nodeid.removeprefix("tests/")
    fixtures = getattr(item, "fixturenames", ())
    return not BROKERS.intersection(fixtures) and not any(fnmatch(name, f"{begin}*") for begin in NOT_QUICK)


class Quick:
    """The plugin of a quick run. starts_nothing: while a test runs."""

    def __init__(self) -> None:
        self.starts_nothing = False
        sys.addaudithook(self._on_event)

    def _on_event(self, event: str, _: object) -> None:
        if self.starts_nothing and event in STARTS:
            raise AssertionError(f"this test starts a process ({event}): give it a line in tests/quick.py")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        """Watch each test with its fixtures."""
        self.starts_nothing = True
        try:
            return (yield)
        finally:
            self.starts_nothing = False

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what is not quick."""
        left_out = [item for item in items if not is_quick(item)]
        items[:] = [item for item in items if is_quick(item)]
        config.hook.pytest_deselected(items=left_out)
