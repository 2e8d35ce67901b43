"""Why a worker cannot work now, for `status`: a reset that goes on, or brokers that went away while it was idle.

A reset is told from outside. Whether absent brokers are back is asked here, because a worker without records would not
notice; nor would it that its consumer cannot hear any. It knows no task.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from streamcluster.errors import BrokerUnreachable, StreamclusterError

from ..data.clients import Clients

# A broker that restarts, or an idle connection that it closed, is no outage yet.
GRACE_SECONDS = 2.0
ASK_SECONDS = 2.0


class Outage:
    """What stands between a worker and its work."""

    __slots__ = ("_asking", "_pool", "_reset")

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._reset: StreamclusterError | None = None
        self._asking: asyncio.Future[None] | None = None

    def began(self, error: StreamclusterError) -> None:
        """Every client is being replaced, because of `error`."""
        self._reset = error

    def ended(self) -> None:
        """The clients are replaced."""
        self._reset = None

    def state(self, clients: Clients | None) -> tuple[Literal["up", "down"], str | None]:
        """Of the brokers, and the reason why the worker does not work; None while it does."""
        if self._reset is not None:
            return "down" if isinstance(self._reset, BrokerUnreachable) else "up", str(self._reset)
        if clients is None:
            return "up", None
        down_since = clients.connection.down_since
        if (down_since is not None or clients.is_quiet) and (self._asking is None or self._asking.done()):
            self._asking = asyncio.get_running_loop().run_in_executor(self._pool, clients.look_for_brokers, ASK_SECONDS)
        if down_since is None:
            return "up", clients.connection.missing()
        if time.monotonic() - down_since < GRACE_SECONDS:
            return "up", None
        return "down", f"no broker answers: {clients.connection.last_error}"
