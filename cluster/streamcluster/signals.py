"""Signals of an app: lists of callbacks that users connect with a decorator."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

from .checks import check_callable
from .errors import AppError

F = TypeVar("F", bound=Callable[..., Any])


class Signal:
    """One signal: `@app.on_configured.connect`, also with (); receivers take the sender and keywords."""

    __slots__ = ("name", "receivers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.receivers: list[Callable[..., Any]] = []

    @overload
    def connect(self, fun: F) -> F: ...

    @overload
    def connect(self) -> Callable[[F], F]: ...

    def connect(self, fun: F | None = None) -> Any:
        """Add a receiver; returns it, so that it works as a decorator with and without parentheses."""
        if fun is None:
            return self.connect
        check_callable(f"{self.name}.connect()", fun)
        self.receivers.append(fun)
        return fun

    def disconnect(self, fun: Callable[..., Any]) -> None:
        """Remove a receiver that was connected."""
        self.receivers.remove(fun)

    def send(self, sender: object, **arguments: object) -> None:
        """Call every receiver, in the order of connection.

        Raises:
            AppError: a receiver is a coroutine function, which nobody awaits here.
        """
        for receiver in self.receivers:
            result = receiver(sender, **arguments)
            if inspect.iscoroutine(result):
                result.close()
                raise AppError(
                    f"{self.name} is sent where nothing can be awaited: {receiver.__name__} must be a plain function, "
                    "not `async def`."
                )

    async def send_async(self, sender: object, **arguments: object) -> None:
        """Call every receiver and await those that are coroutine functions."""
        for receiver in self.receivers:
            result = receiver(sender, **arguments)
            if inspect.isawaitable(result):
                await result
