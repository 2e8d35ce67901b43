"""The development broker in the foreground, as `streamcluster broker` runs it: until a signal or its own death.

Decides what the user is told and when it ends; the command line itself is parsed elsewhere.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from streamcluster.errors import BrokerUnreachable, ExitCode

from .cluster import Broker
from .installation import Say
from .jars import KAFKA_VERSION

_LOOK_SECONDS = 0.5


def run_broker(
    port: int = 9092, data_dir: Path | None = None, brokers: int = 1, say: Say = print, kafka: str = KAFKA_VERSION
) -> int:
    """Run the broker until Ctrl-C or TERM and return the exit code. Call it from the main thread.

    Raises:
        ConfigurationError: a port, the data directory, the version or the installation cannot be used.
        BrokerUnreachable: Kafka did not come up, or every node died.
    """
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Broker(port=port, data_dir=data_dir, brokers=brokers, say=say, kafka=kafka) as broker:
            kept = f"data in {data_dir}" if data_dir else "data is deleted at the end; keep it with --data-dir"
            say(f"Apache Kafka {kafka} listens on {broker.url} ({kept}). Ctrl-C stops it.")
            _watch(broker, say)
    except KeyboardInterrupt:
        say("The broker has stopped.")
    finally:
        signal.signal(signal.SIGTERM, before)
    return ExitCode.DRAINED


def _watch(broker: Broker, say: Say) -> NoReturn:
    """Report each node that dies; end when none is left."""
    reported: set[int] = set()
    while True:
        dead = broker.dead()
        for node in dead.keys() - reported:
            say(dead[node][0].upper() + dead[node][1:])
        reported |= dead.keys()
        if not broker.pids:
            raise BrokerUnreachable("No node of the broker is left; the reason is above.")
        time.sleep(_LOOK_SECONDS)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
