"""Signals of an app: lists of callbacks that users connect with a decorator."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

from .boundary import running_task
from .checks import check_callable
from .errors import AppError, CallbackFailed, StreamclusterError
from .printable import repr_of

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
            try:
                result = receiver(sender, **arguments)
            except BaseException as error:
                raise failed_call(error, self.name, receiver) from error
            if inspect.iscoroutine(result):
                result.close()
                raise AppError(
                    f"{self.name} is sent where nothing can be awaited: {name_of(receiver)} must be a plain function, "
                    "not `async def`."
                )

    async def send_async(self, sender: object, **arguments: object) -> None:
        """Call every receiver and await those that are coroutine functions."""
        for receiver in self.receivers:
            await call(self.name, receiver, sender, **arguments)


async def call(name: str, callback: Callable[..., Any], *arguments: object, **keywords: object) -> None:
    """Call what the app has for `name`, and await it if it is a coroutine function.

    Raises:
        CallbackFailed: it raised something that does not say itself who must act. CancelledError: we are cancelled.
    """
    try:
        result = callback(*arguments, **keywords)
        if inspect.isawaitable(result):
            await result
    except BaseException as error:
        task = running_task()
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)) and (task is None or task.cancelling()):
            raise
        raise failed_call(error, name, callback) from error


def failed_call(error: BaseException, name: str, callback: object) -> Exception:
    """What is raised for it: a configuration error, say, keeps its class and so its exit code."""
    if isinstance(error, StreamclusterError):
        return error
    return CallbackFailed(f"{name}: {name_of(callback)} failed: {repr_of(error)}")


def name_of(callback: object) -> str:
    """How messages name a function."""
    return str(getattr(callback, "__name__", type(callback).__name__))
