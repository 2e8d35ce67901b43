"""Units: one may read several topics, and keep a table that nobody has named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamcluster import App, Stream
from streamcluster.tables import Table
from streamcluster.testing import Driver
from streamcluster.topology import Declared
from streamcluster.topology.declare import declaration_of, freeze
from streamcluster.topology.units import AgentUnit, Plan


def test_a_unit_of_two_inputs_keeps_a_table_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the events of both, each by its topic's codecs; its table is declared with it, and comes back."""
    app = App("shop")
    words, numbers = app.topic("words", value_type=str), app.topic("numbers", value_type=int)
    kept: Table[str, int] = Table("both-kept", key_type=str, value_type=int, default=int)

    @app.agent(words)
    async def both(stream: Stream[str]) -> None:
        async for value in stream:
            kept[str(value)] += 1

    async def freeze_with_both(app: App) -> tuple[Plan, Declared]:
        plan, declared = await freeze(app)
        (unit,) = plan.units
        assert isinstance(unit, AgentUnit)
        wider = replace(plan, units=(replace(unit, inputs=(words, numbers), tables=(kept,)),), tables=(kept,))
        return wider, declaration_of(app, wider, list(declared.agents), {})

    monkeypatch.setattr("streamcluster.testing.driver.freeze", freeze_with_both)
    with Driver(app, partitions=2) as driver:
        (table,) = driver.topology.tables
        assert (table.changelog, table.group) == ("shop-both-kept-changelog", 2)
        for topic, value in ((words, "5"), (numbers, 5), (numbers, 6)):
            driver.send(topic, key=b"k", value=value)
        driver.crash(lose_stores=True)
        driver.send(words, key=b"k", value="6")
        assert dict(kept.items()) == {"5": 2, "6": 2}
