"""tables_named and topics_named: which tables and topics a function uses, as far as its code shows.

Time of a windowed table is that of the agents that write it, so it has to be known before the first event. Code names a
table by itself, as an attribute (`tables.views`, `self.views`), in a dict or list (`VIEWS["page"]`), and in functions
that it calls.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections import deque
from collections.abc import Callable, Iterator
from types import CodeType, ModuleType
from typing import Any

from ..agents import Agent
from ..app import App
from ..tables import Table
from ..topics import Topic
from ..windows.windowed import WindowedTable

# Functions that are looked into, nearest first: a library that is called has thousands.
_FUNCTIONS_MAX = 500
# Members of a dict or list in which tables are looked for: one with more is data.
_MEMBERS_MAX = 100
_PACKAGE = __name__.partition(".")[0]


def tables_named(app: App, fun: Callable[..., Any]) -> set[str]:
    """Tables that the function names, directly or in functions that it names (of any depth)."""
    found: set[str] = set()
    for value in _named(fun):
        table = value.table if isinstance(value, WindowedTable) else value
        if isinstance(table, Table) and app.tables.get(table.name) is table:
            found.add(table.name)
    return found


def topics_named(fun: Callable[..., Any]) -> set[str]:
    """Topics that it names, and those of agents that it names: what it may send to."""
    found: set[str] = set()
    for value in _named(fun):
        topic = value.topic if isinstance(value, Agent) else value
        if isinstance(topic, Topic):
            found.update(topic.names)
    return found


def _named(fun: Callable[..., Any]) -> Iterator[Any]:
    """What code names, but for functions, which are looked into."""
    seen: set[int] = set()
    waiting: deque[Any] = deque([fun])
    while waiting and len(seen) <= _FUNCTIONS_MAX:
        current = _function_of(waiting.popleft())
        code = getattr(current, "__code__", None)
        if code is None or id(code) in seen:
            continue
        seen.add(id(code))
        names = {*code.co_names, *(name for inner in _codes_in(code) for name in inner.co_names)}
        for value in _reached(_first_of(current, names), names):
            if _is_function(value):
                waiting.append(value)
            else:
                yield value


def _function_of(value: Any) -> Any:
    """The function behind decorators and `functools.partial`."""
    while isinstance(value, functools.partial):
        value = value.func
    return inspect.unwrap(value)


def _is_function(value: Any) -> bool:
    value = value.func if isinstance(value, functools.partial) else value
    module = (getattr(value, "__module__", None) or "").partition(".")[0]
    is_library = module == _PACKAGE or module in sys.stdlib_module_names
    return not is_library and (inspect.isfunction(value) or inspect.ismethod(value))


def _codes_in(code: CodeType) -> Iterator[CodeType]:
    """Of functions and comprehensions that stand inside of it."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            yield from _codes_in(inner)


def _first_of(function: Any, names: set[str]) -> Iterator[Any]:
    """What its names mean: globals, variables of the functions around it, defaults, and of a method its object."""
    yield from (function.__globals__[name] for name in names if name in function.__globals__)
    yield from (cell.cell_contents for cell in (function.__closure__ or ()) if _is_filled(cell))
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    if inspect.ismethod(function):
        yield function.__self__


def _reached(values: Iterator[Any], names: set[str]) -> Iterator[Any]:
    """The values, members of those that are dicts or lists, and attributes that have one of the names."""
    waiting = deque(values)
    seen: set[int] = set()
    while waiting:
        value = waiting.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, (dict, list, tuple, set, frozenset)):
            if len(value) <= _MEMBERS_MAX:
                waiting.extend(value.values() if isinstance(value, dict) else value)
        elif not _is_opaque(value):
            own = [getattr(one, "__dict__", {}) for one in (value, *type(value).__mro__)]
            waiting.extend(attributes[name] for attributes in own for name in names if name in attributes)


def _is_opaque(value: Any) -> bool:
    """Whether its attributes are nobody's tables: ours, Python's, and functions."""
    of = value if isinstance(value, (ModuleType, type)) else type(value)
    module = of.__name__ if isinstance(of, ModuleType) else of.__module__
    top = module.partition(".")[0]
    return top == _PACKAGE or (top in sys.stdlib_module_names and top not in ("__main__", "types"))


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
