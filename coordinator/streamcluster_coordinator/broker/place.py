"""Where a node of the development broker runs when that is not on loopback: for tests that need a network. A value."""

from __future__ import annotations

import msgspec


class NodePlace(msgspec.Struct, frozen=True):
    """An address, and the way to run a command where that address is.

    Args:
        host: the address that the node listens on and tells its clients.
        within: what the node's command begins with, for example `/usr/bin/nsenter --net=PATH`: an absolute path, and a
            program that becomes the command in place of running it as a child.
    """

    host: str
    within: tuple[str, ...] = ()
