"""Runs the real coordinator over fake workers: `python -m tests.coordinator.run_fake TOPIC OVERRIDES`.

What it says goes to stdout, as "level text"; an error that keeps it from starting is said as "refused".
"""

from __future__ import annotations

import json
import sys

from streamcluster.errors import StreamclusterError
from streamcluster_coordinator.records.status import Status
from streamcluster_coordinator.shell import fleet as fleet_module
from streamcluster_coordinator.shell.fleet import Fleet
from streamcluster_coordinator.start import run

MODULE = "tests.coordinator.fake_worker"
# The tests are about the codes of ends, which a fork server on a busy machine may be slow to tell.
fleet_module._EXIT_CODE_SECONDS = 20.0


class Lines:
    """Prints what is said; snapshots are asked for over the control socket instead."""

    def line(self, level: str, text: str) -> None:
        """One message."""
        print(level, text, flush=True)

    def on_status(self, status: Status) -> None:
        """Nothing to show."""


def main(topic: str, overrides: str) -> int:
    """Run until the end; return the exit code."""
    fleet = Fleet(entry=f"{MODULE}:run", probe_entry=f"{MODULE}:probe", preload=(MODULE,))
    try:
        return run(topic, json.loads(overrides), say=Lines(), fleet=fleet)
    except StreamclusterError as error:
        print("refused", error, getattr(error, "traceback", ""), flush=True)
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
