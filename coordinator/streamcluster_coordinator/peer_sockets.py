"""Where a coordinator listens for others: on the address that it advertises when that is this machine's, else on all.

It knows names, addresses and ports, and nothing of what is said over them.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence
from ipaddress import ip_address

from streamcluster.errors import ConfigurationError
from streamcluster.settings import address_of

_RESOLVE_SECONDS = 5.0
# Not this machine's address, or a protocol that this kernel does not have.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

Address = tuple[socket.AddressFamily, tuple[str, int]]


async def listening_sockets(advertise: str) -> list[socket.socket]:
    """Open the port of `advertise` (HOST:PORT).

    Raises:
        ConfigurationError: it is in use, or not allowed (the operator).
    """
    host, port = address_of(advertise)
    anywhere: list[Address] = [(socket.AF_INET, ("0.0.0.0", port)), (socket.AF_INET6, ("::", port))]
    sockets = _opened(await _addresses(host, port), advertise) or _opened(anywhere, advertise)
    if not sockets:
        raise ConfigurationError(f"advertise={advertise}: this machine has no address to listen on.")
    return sockets


async def _addresses(host: str, port: int) -> list[Address]:
    """What `host` stands for here, when the same may be meant elsewhere."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, TimeoutError, UnicodeError):
        # Others may well resolve it.
        return []
    addresses: list[Address] = [(family, (str(address[0]), port)) for family, _, _, _, address in found]
    if host == "localhost" or any(host == name for _, (name, _) in addresses):
        return addresses
    # Debian gives the machine's own name 127.0.1.1 in /etc/hosts; everybody else connects to another address.
    return [one for one in addresses if not ip_address(one[1][0]).is_loopback]


def _opened(addresses: Sequence[Address], advertise: str) -> list[socket.socket]:
    """Listen on those of `addresses` that are this machine's."""
    opened: list[socket.socket] = []
    for family, address in addresses:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            continue
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen()
        except OSError as error:
            sock.close()
            if error.errno in _NOT_HERE:
                continue
            for one in opened:
                one.close()
            raise _unusable(advertise, error) from error
        opened.append(sock)
    return opened


def _unusable(advertise: str, error: OSError) -> ConfigurationError:
    if error.errno == errno.EADDRINUSE:
        return ConfigurationError(
            f"advertise={advertise}: the port is in use. Stop what listens there, or advertise another port."
        )
    return ConfigurationError(
        f"advertise={advertise}: the port cannot be opened: {error.strerror}. "
        "Advertise another one (above 1023, unless this user may open lower ones)."
    )
