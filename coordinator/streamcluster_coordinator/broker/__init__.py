"""The development broker: real Apache Kafka on loopback, installed, started and stopped by us.

What the rest of the project may use; everything else in here is the broker's own.
"""

from __future__ import annotations

from .cluster import Broker
from .command import run_broker
from .installation import Installation, install
from .jars import KAFKA_VERSION, pinned_versions
from .place import NodePlace
from .secured import Secured

__all__ = [
    "KAFKA_VERSION",
    "Broker",
    "Installation",
    "NodePlace",
    "Secured",
    "install",
    "pinned_versions",
    "run_broker",
]
