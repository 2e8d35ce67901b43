"""What Faust has and streamcluster has not: each name says why when it is used, and hides nothing that is there."""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import streamcluster
from streamcluster import App, Event, NotOffered, Stream, faust_names, models
from streamcluster.agents import Agent
from streamcluster.errors import ConfigurationError
from streamcluster.settings import SETTING_NAMES
from streamcluster.tables import Table
from streamcluster.topics import Topic

ATTRIBUTES: dict[type, Mapping[str, str]] = {
    App: faust_names.APP,
    Topic: faust_names.TOPIC,
    Agent: faust_names.AGENT,
    Stream: faust_names.STREAM,
    Event: faust_names.EVENT,
    Table: faust_names.TABLE,
}
ARGUMENTS: dict[str, Mapping[str, str]] = {
    "topic": faust_names.TOPIC_ARGUMENTS,
    "agent": faust_names.AGENT_ARGUMENTS,
    "Table": faust_names.TABLE_ARGUMENTS,
    "task": faust_names.FUNCTION_ARGUMENTS,
    "timer": faust_names.FUNCTION_ARGUMENTS,
}
# Every positional argument that the functions above need.
POSITIONAL: dict[str, tuple[Any, ...]] = {"topic": ("t",), "agent": (), "Table": ("t",), "task": (), "timer": (1.0,)}


@pytest.mark.parametrize("owner", ATTRIBUTES, ids=lambda owner: owner.__name__)
def test_attributes_of_faust_say_why(owner: type) -> None:
    """Reading one raises NotOffered with a reason; a misspelled one is an AttributeError as ever."""
    instance: Any = object.__new__(owner)
    for name in ATTRIBUTES[owner]:
        with pytest.raises(NotOffered, match=rf"\.{name} is not offered: .{{8}}"):
            getattr(instance, name)
    with pytest.raises(AttributeError, match="tpyo"):
        _ = instance.tpyo


@pytest.mark.parametrize("owner", ATTRIBUTES, ids=lambda owner: owner.__name__)
def test_names_of_faust_leave_the_class_as_fast_as_it_was(owner: type) -> None:
    """A class with __getattr__ would read its own attributes several times slower; help() must go on to work."""
    assert not hasattr(owner, "__getattr__")
    assert pydoc.render_doc(owner)


def test_names_that_are_there_are_not_called_missing() -> None:
    """A list that names an attribute of its class is a mistake."""
    with pytest.raises(AssertionError, match="Stream has take"):
        faust_names.names_what_is_missing({"take": "because"}, "stream")(Stream)


def test_assigning_a_mode_of_faust_is_refused() -> None:
    """`app.producer_only = True` would do nothing; the user's own attributes are the user's."""
    app: Any = App("a")
    with pytest.raises(NotOffered, match="producer_only"):
        app.producer_only = True
    app.database = 5
    assert app.database == 5


@pytest.mark.parametrize("factory", ARGUMENTS)
def test_arguments_of_faust_say_why(factory: str) -> None:
    """Each raises NotOffered, none is a parameter, and what nobody knows is a TypeError."""
    function: Callable[..., Any] = getattr(App("a"), factory)
    for name in ARGUMENTS[factory]:
        with pytest.raises(NotOffered, match=rf"{factory}\({name}="):
            function(*POSITIONAL[factory], **{name: 1})
    assert not inspect.signature(function).parameters.keys() & ARGUMENTS[factory].keys()


def test_agent_refuses_the_arguments_of_a_topic_that_are_not_offered() -> None:
    """Also when its topic is given, where "it belongs to the topic" would be wrong."""
    app = App("a")
    with pytest.raises(NotOffered, match="schema"):
        app.agent(app.topic("t"), schema=1)


@pytest.mark.parametrize("name", faust_names.SETTINGS)
def test_settings_of_faust_say_what_to_use(name: str) -> None:
    """Each is refused with its reason, in place of the name that looks most like it."""
    assert name not in SETTING_NAMES
    with pytest.raises(ConfigurationError, match=rf"{name}' of Faust is not offered: .{{8}}"):
        App("a", **{name: 1})


@pytest.mark.parametrize("module", [streamcluster, models], ids=lambda module: module.__name__)
def test_names_of_the_package_say_why(module: Any) -> None:
    """`streamcluster.Schema` and `from streamcluster import Schema` raise NotOffered, a misspelled one does not."""
    known = faust_names.MODULE if module is streamcluster else faust_names.MODELS
    for name in known.keys() - vars(module).keys():
        with pytest.raises(NotOffered):
            getattr(module, name)
    assert not hasattr(module, "Ordr")
    with pytest.raises(NotOffered):
        exec("from streamcluster import Schema")


def test_current_event_is_on_the_stream_too() -> None:
    """Faust has it there; outside of an event it is None."""
    app = App("a")
    assert app.stream(app.topic("t")).current_event is None
