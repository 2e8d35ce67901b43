"""Where a coordinator listens for others: on the address that it advertises, or where the operator says.

Never on more than that: what does not resolve, or is no address of this machine, is an error. It knows names, addresses
and ports, and nothing of what is said over them.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence
from ipaddress import ip_address

from streamcluster.errors import ConfigurationError, TryAgain
from streamcluster.settings import address_of

_RESOLVE_SECONDS = 5.0
# Not this machine's address, or a protocol that this kernel does not have.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

Address = tuple[socket.AddressFamily, tuple[str, int]]


async def listening_sockets(advertise: str, listen: str | None = None) -> list[socket.socket]:
    """Open the port of `listen`, or else of `advertise` (both HOST:PORT). 0.0.0.0 and [::] are all addresses.

    Raises:
        ConfigurationError: it is in use, not allowed, or no address of this machine (the operator).
        TryAgain: the name servers do not answer now.
    """
    setting, address = ("advertise", advertise) if listen is None else ("listen", listen)
    host, port = address_of(address)
    name = f"{setting}={address}"
    found = await _addresses(name, host, port)
    sockets = _opened(found, name)
    if not sockets:
        addresses = ", ".join(sorted({one for _, (one, _) in found})) or "nothing but loopback addresses"
        raise ConfigurationError(
            f"{name}: {host} ({addresses}) is no address of this machine that others reach. Say which one to open the "
            f"port on: --listen ADDRESS:PORT, or --listen 0.0.0.0:{port} for all of them."
        )
    return sockets


def listening_text(sockets: Sequence[socket.socket]) -> str:
    """Where that is, for the log."""
    names = [(one.family, *one.getsockname()[:2]) for one in sockets]
    texts = [f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}" for family, host, port in names]
    is_all = any(ip_address(host.partition("%")[0]).is_unspecified for _, host, _ in names)
    return f"{', '.join(texts)}{' (all addresses of this machine)' if is_all else ''}"


async def _addresses(setting: str, host: str, port: int) -> list[Address]:
    """What `host` stands for here. Raises as `listening_sockets`."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, TimeoutError, UnicodeError) as error:
        if isinstance(error, TimeoutError) or (isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN):
            raise TryAgain(f"{setting}: no name server says now what {host} is, so the port is not opened") from error
        raise ConfigurationError(
            f"{setting}: the name {host} does not exist here, so the port is not opened. Correct it, or say which "
            f"address of this machine to open it on: --listen ADDRESS:PORT."
        ) from error
    addresses: list[Address] = [(family, (str(address[0]), port)) for family, _, _, _, address in found]
    if host == "localhost" or any(host == name for _, (name, _) in addresses):
        return addresses
    # Debian gives the machine's own name 127.0.1.1 in /etc/hosts; everybody else connects to another address.
    return [one for one in addresses if not ip_address(one[1][0].partition("%")[0]).is_loopback]


def _opened(addresses: Sequence[Address], setting: str) -> list[socket.socket]:
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
            raise _unusable(setting, error) from error
        opened.append(sock)
    return opened


def _unusable(setting: str, error: OSError) -> ConfigurationError:
    if error.errno == errno.EADDRINUSE:
        return ConfigurationError(f"{setting}: the port is in use. Stop what listens there, or choose another port.")
    return ConfigurationError(
        f"{setting}: the port cannot be opened: {error.strerror}. "
        "Choose another one (above 1023, unless this user may open lower ones)."
    )
