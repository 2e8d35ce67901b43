"""The test driver as its users see it: the documented example, and what it promises about time, faults and mistakes."""

from __future__ import annotations

import asyncio
import inspect
import re
import textwrap
from types import SimpleNamespace
from typing import Any

import pytest

import streamcluster.testing
import streamcluster.testing.simulation
from streamcluster import App, Stream
from streamcluster.errors import AppError
from streamcluster.ids import TP
from streamcluster.testing import Driver


def shop() -> App:
    """The app of the documentation."""
    app = App("shop")
    clicks = app.topic("clicks", key_type=str, value_type=int)
    counts = app.Table("click_counts", default=int)

    @app.agent(clicks)
    async def count_click(stream: Stream[int]) -> None:
        async for url, count in stream.items():
            counts[url] += count

    return app


def test_example_in_the_documentation_works() -> None:
    """The test in the package's docstring runs as it stands there, and can fail."""
    text = inspect.getdoc(streamcluster.testing) or ""
    found = re.search(r"^    from streamcluster.testing.*?(?=^\S)", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    code = textwrap.dedent(found.group())
    names: dict[str, Any] = {"shop": SimpleNamespace(app=shop())}
    exec(code, names)
    names["test_clicks_are_counted"]()
    exec(code.replace("{'/home': 3}", "{}").replace('{"/home": 3}', "{}"), names)
    names["shop"] = SimpleNamespace(app=shop())
    with pytest.raises(AssertionError):
        names["test_clicks_are_counted"]()


def test_time_stands_still_until_it_is_advanced() -> None:
    """Records carry the driver's time, from start_time on; a timestamp may be given."""
    app = App("a")
    out = app.topic("out", value_type=int, partitions=1)

    @app.agent(app.topic("in", value_type=int))
    async def copy(stream: Stream[int]) -> None:
        async for value in stream:
            await out.send(value=value)

    with Driver(app, start_time=1000.0) as driver:
        driver.send("in", value=1)
        driver.advance(5.5)
        driver.send("in", value=2)
        assert [o.timestamp for o in driver.output(out)] == [1000.0, 1005.5]


def test_crash_forgets_what_was_not_committed() -> None:
    """commit=False leaves results in memory, which a crash takes; they are computed again from the records."""
    with Driver(shop()) as driver:
        driver.send("clicks", key="/a", value=1)
        driver.send("clicks", key="/a", value=2, commit=False)
        assert driver.positions() == {TP("clicks", 0): 1}
        assert driver.table("click_counts") == {"/a": 3}
        driver.crash()
        assert driver.positions() == {TP("clicks", 0): 2}
        assert driver.table("click_counts") == {"/a": 3}


def test_records_go_where_kafka_would_put_them() -> None:
    """The key decides the partition unless one is given, and a partition that is not there is refused."""
    with Driver(shop(), partitions=4) as driver:
        for key in "abcdefgh":
            driver.send("clicks", key=key, value=1)
        used = {tp.partition for tp, position in driver.positions().items() if position}
        assert len(used) > 1
        driver.send("clicks", key="a", value=1, partition=3)
        with pytest.raises(ValueError, match="partitions 0 to 3"):
            driver.send("clicks", key="a", value=1, partition=4)


def test_mistakes_of_tests_are_said() -> None:
    """An unknown topic or a value that cannot be encoded is an error that names what there is."""
    with Driver(shop()) as driver:
        with pytest.raises(AppError, match="click-topic"):
            driver.send("click-topic", value=1)
        with pytest.raises(AppError, match="clicks"):
            driver.output("nowhere")
        with pytest.raises(KeyError):
            driver.table("nothing")


def test_bytes_are_sent_as_they_are() -> None:
    """Keys and values given as bytes are not encoded, so that bad input can be tested."""
    with Driver(shop()) as driver:
        driver.send("clicks", key=b"/a", value=b"not a number")
        driver.send("clicks", key=b"/a", value=b"4")
        assert driver.table("click_counts") == {"/a": 4}
        assert [(o.key, o.value) for o in driver.dead_letters()] == [(b"/a", b"not a number")]


def test_app_may_be_driven_again_after_its_driver_was_closed() -> None:
    """Each driver starts from nothing, and closing twice is fine."""
    app = shop()
    for _ in range(2):
        driver = Driver(app)
        driver.send("clicks", key="/a", value=1)
        assert driver.table("click_counts") == {"/a": 1}
        driver.close()
        driver.close()


def test_app_that_never_comes_to_rest_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that hangs fails the test with a message instead of hanging it."""
    monkeypatch.setattr(streamcluster.testing.simulation, "SETTLE_SECONDS_MAX", 0.05)
    app = App("a")

    @app.agent(app.topic("in", value_type=int))
    async def hangs(stream: Stream[int]) -> None:
        async for _ in stream:
            await asyncio.Event().wait()

    with Driver(app) as driver, pytest.raises(TimeoutError, match="did not come to rest"):
        driver.send("in", value=1)
