"""An app that is started where few files may be open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from streamcluster.errors import ExitCode
from tests.conftest import MakeTopic
from tests.process.running import Running

PARTITIONS = 8
Start = Callable[[str], Running]


@pytest.fixture
def limited(topic_prefix: str, tmp_path: Path, broker_url: str, make_topic: MakeTopic) -> Iterator[Start]:
    """Prepares a run in a shell that sets a limit, as `ulimit` says it."""
    for name in ("in", "out"):
        make_topic(f"{topic_prefix}{name}", PARTITIONS)
    runs: list[Running] = []

    def make(limit: str) -> Running:
        within = ("sh", "-c", f'ulimit {limit} && exec "$@"', "sh")
        runs.append(Running("obedient", topic_prefix, broker_url, tmp_path, within=within))
        return runs[-1]

    yield make
    for run in runs:
        run.close()


def test_app_that_may_need_more_files_than_it_may_open_does_not_start(limited: Start) -> None:
    """Before any task runs: how many it needs, how many it may have, and what to raise."""
    run = limited("-n 300")
    run.start(1)
    assert run.wait() == ExitCode.CONFIGURATION
    said = run.log()
    assert "a worker may open 300 files and sockets at most, and may need 416" in said
    assert "LimitNOFILE=512" in said
    assert not list(run.state_dir.glob("*/tasks/*")), "no task was opened"


def test_soft_limit_is_raised_to_the_hard_one(limited: Start) -> None:
    """The usual 1024 is a soft one: with it an app begins that would be at its end when others' tasks arrive."""
    run = limited("-Sn 300 && ulimit -Hn 2000")
    run.start(1)
    run.until_running()
    assert psutil.Process(run.pid_of()).rlimit(psutil.RLIMIT_NOFILE) == (2000, 2000)
    assert run.drain() == 0
