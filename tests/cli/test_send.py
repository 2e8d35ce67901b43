"""`streamcluster send` and the texts of keys: what the command line says becomes what the app itself would send."""

from __future__ import annotations

from typing import Any

import pytest

import streamcluster
from streamcluster.errors import AppError, ConfigurationError
from streamcluster.shown import key_texts
from streamcluster_coordinator.cli.act import encoded, find_topic


class Order(streamcluster.Record):
    """A typed value."""

    account: str
    amount: int = 1


app = streamcluster.App("shop")
orders = app.topic("orders", "old-orders", key_type=str, value_type=Order)


@app.agent(orders)
async def add_up(stream: streamcluster.Stream[Order]) -> None:
    """An agent to send to."""
    async for _ in stream:
        pass


def bytes_of(kind: Any, text: str, *, part: str = "value") -> bytes | None:
    """`text` as a value (or key) of a topic with that type."""
    topic = streamcluster.App("x").topic("t", key_type=kind, value_type=kind)
    topic.compile(app.conf)
    return encoded(topic, text, app.conf, part=part)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (str, "plain text", b'"plain text"'),
        (bytes, "raw", b"raw"),
        (int, "42", b"42"),
        (None, '{"a": 1}', b'{"a":1}'),
        (None, "not json", b'"not json"'),
        (Order, '{"account": "a", "amount": 2}', b'{"account":"a","amount":2}'),
        (Order, '{"account": "a"}', b'{"account":"a","amount":1}'),
    ],
)
def test_a_value_is_encoded_as_the_topic_declares(kind: Any, text: str, expected: bytes) -> None:
    """Text types take the text as it is, the others JSON; defaults of a Record are filled in."""
    assert bytes_of(kind, text) == expected


@pytest.mark.parametrize(
    ("kind", "text"), [(int, "many"), (Order, '{"amount": 2}'), (Order, '{"account": 1}'), (Order, "x")]
)
def test_a_value_that_does_not_fit_is_refused(kind: Any, text: str) -> None:
    """A typo does not reach the topic."""
    with pytest.raises(ConfigurationError, match="does not fit"):
        bytes_of(kind, text)


def test_an_untyped_key_is_plain_text() -> None:
    """Keys are bytes as they are by default, so `-k 7` is the key b"7"."""
    assert bytes_of(None, "7", part="key") == b"7"


def test_a_topic_is_found_by_each_of_its_names_and_by_its_agent() -> None:
    """The name that was given is the one sent to; an agent may be named by its last part."""
    assert find_topic(app, "orders").name == "orders"
    assert find_topic(app, "old-orders").name == "old-orders"
    assert find_topic(app, "@add_up") is orders


def test_an_unknown_topic_or_agent_lists_what_there_is() -> None:
    """Without a near name, the message shows the names."""
    with pytest.raises(AppError, match="It has: old-orders, orders"):
        find_topic(app, "zzz")
    with pytest.raises(AppError, match=r"It has: .*add_up"):
        find_topic(app, "@zzz")


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (str, "12", ['"12"']),
        (int, "12", ["12"]),
        (None, "12", ['"12"', "12"]),
        (None, "AA", ['"AA"']),
        (None, '["a", 1]', ['"[\\"a\\", 1]"', '["a", 1]']),
    ],
)
def test_a_key_of_the_command_line_is_looked_up_in_the_likelier_form_first(
    kind: Any, text: str, expected: list[str]
) -> None:
    """Untyped keys may be text that looks like a number, or the number."""
    assert key_texts(kind, None, text) == expected


def test_a_key_that_cannot_be_of_its_type_is_refused() -> None:
    """`table totals AA` on int keys says what it needs."""
    with pytest.raises(ValueError, match="'AA' is no key of type int, which is a whole number: 5"):
        key_texts(int, None, "AA")
