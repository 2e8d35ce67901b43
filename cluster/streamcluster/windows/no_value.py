"""not_a_value: `table[key]` of a windowed table is used as if it were the value of a plain table, and says so.

Python would answer some of it with no look at the windows (`table[key] == 0` is False, `if table[key]` is true), and
refuse the rest without a word about windows. Type checkers refuse it by themselves: nothing here is seen by them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

C = TypeVar("C", bound=type[Any])

_HINT = "read one with .value(), .now(), .delta(60) or .windows(start, end), change them with += or .apply(fun, value)"
_USES = {
    "compare": ("eq", "ne", "lt", "le", "gt", "ge"),
    "ask whether it is true": ("bool",),
    "reckon with": ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "int", "float", "round"),
    "look into": ("len", "iter", "contains"),
    "change a part of": ("setitem", "delitem"),
}
# What people call on values.
_NAMES = {name for type_ in (list, dict, set) for name in dir(type_) if not name.startswith("_")}


def not_a_value(windows: C) -> C:
    """Class decorator: refuse these uses, and these names."""
    for use, names in _USES.items():
        for name in names:
            setattr(windows, f"__{name}__", _refused(use))
    # Not by __getattr__: of a class that has one, Python reads every attribute the slow way.
    for name in _NAMES:
        if not hasattr(windows, name):
            setattr(windows, name, property(_no_name(name)))
    return windows


def _refused(use: str) -> Callable[..., NoReturn]:
    def refuse(self: Any, *_others: object) -> NoReturn:
        raise TypeError(f"{self!r} are not a value to {use}: {_HINT}.")

    return refuse


def _no_name(name: str) -> Callable[[Any], NoReturn]:
    def refuse(self: Any) -> NoReturn:
        raise AttributeError(f"{self!r} have no {name!r}: {_HINT}.", name=name, obj=self)

    return refuse
