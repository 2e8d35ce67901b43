"""A default that is handed out for a key which the same commit has deleted."""

from __future__ import annotations

from streamcluster import App, Stream

from .conftest import Drive


def test_a_default_that_is_changed_behind_a_deletion_is_kept(drive: Drive) -> None:
    """And one that is not changed is no entry, whatever else the commit has."""
    app = App("defaults")
    table = app.Table("t", default=list)
    sizes: list[int] = []

    @app.agent(app.topic("events", key_type=str, value_type=str))
    async def use(stream: Stream[str]) -> None:
        async for key, value in stream.items():
            if value == "put":
                table[key] = ["old"]
            elif value == "replace":
                del table[key]
                table[key].append("new")
            elif value == "look":
                del table[key]
                assert table[key] == []
            else:
                sizes.append(len(table))

    driver = drive(app)
    for value, rows, size in (("put", {"k": ["old"]}, 1), ("replace", {"k": ["new"]}, 1), ("look", {}, 0)):
        driver.send("events", key="k", value=value)
        driver.send("events", key="other", value="count")
        assert sizes[-1] == size
        driver.crash()
        assert driver.table("t") == rows
