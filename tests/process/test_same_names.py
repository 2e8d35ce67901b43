"""Apps whose agents have the same names do not take each other's records between group_by and its agent."""

from __future__ import annotations

from streamcluster.errors import ExitCode
from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import send

RECORDS = 20


def test_another_app_with_the_names_of_this_one_is_refused(
    running: StartApp, bootstrap: str, topic_prefix: str, make_topic: MakeTopic
) -> None:
    """Each of the two would count what both forward."""
    first, second = (running(f"tests.process.same_names:{name}", name=name) for name in ("production", "staging"))
    source = make_topic(f"{topic_prefix}in", 1)
    send(bootstrap, source, [Row("k", f"v{number % 3}".encode()) for number in range(RECORDS)])
    first.start(1)
    first.until_caught_up()

    second.start(1)

    assert second.wait() == ExitCode.CONFIGURATION, second.log_end()
    checked = second.cli("check")
    assert checked.returncode == ExitCode.CONFIGURATION
    for said in (second.log_end(), checked.stderr):
        assert f"{topic_prefix}total-{source}-value-repartition would be a topic of its own" in said
    assert sum(first.table("totals").values()) == RECORDS
    assert first.drain() == ExitCode.DRAINED
