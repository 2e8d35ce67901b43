"""Agent: a declared stream processor. It does no I/O: `send` and `cast` go to its topic through the current outbox."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .checks import each
from .errors import AppError
from .faust_names import AGENT, names_what_is_missing
from .policies import ErrorPolicy
from .streams import Stream
from .tables import Table
from .topics import Sent, Topic

Sink = Any


@names_what_is_missing(AGENT, "agent")
@dataclass(slots=True, eq=False)
class Agent:
    """Made by `@app.agent(...)`; the parameters are described there.

    stream: what its body reads: a topic, or a stream declared with app.stream and its operators.
    """

    name: str
    fun: Callable[[Stream[Any]], Any]
    topic: Topic
    stream: Stream[Any] | None = None
    concurrency: int = 1
    sinks: list[Sink] = field(default_factory=list)
    on_error: ErrorPolicy | str | None = None
    help: str = ""
    # Tables that it keeps and nobody has named: they are declared with it.
    keeps: tuple[Table[Any, Any], ...] = ()

    def __call__(self, stream: Stream[Any]) -> Any:
        """Run the body over another stream, as a plain function."""
        return self.fun(stream)

    def add_sink(self, sink: Sink) -> None:
        """Send what the agent yields to `sink` too: a callable (sync or async), a topic or an agent."""
        check_sink(self.name, sink)
        self.sinks.append(sink)

    async def send(
        self,
        value: Any = None,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Any = None,
    ) -> Sent:
        """Send one event to the agent's topic, with the next commit."""
        return await self.topic.send(key=key, value=value, partition=partition, timestamp=timestamp, headers=headers)

    async def cast(
        self,
        value: Any = None,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Any = None,
    ) -> None:
        """`send` that returns nothing."""
        await self.topic.send(key=key, value=value, partition=partition, timestamp=timestamp, headers=headers)


def check_sink(agent: str, sink: Sink) -> None:
    """Raise AppError when `sink` is nothing that a value can be given to."""
    if not isinstance(sink, (Topic, Agent)) and not callable(sink):
        raise AppError(f"agent {agent}: sink {sink!r} is neither a function, a topic nor an agent.")


def check_sinks(agent: str, sinks: Sequence[Sink]) -> list[Sink]:
    """The sinks as a list, each checked."""
    found = each(f"agent {agent}: sink", sinks)
    for sink in found:
        check_sink(agent, sink)
    return found
