"""Where the port for other hosts is opened: on one address of this machine, or where the operator says, and said."""

from __future__ import annotations

import asyncio
import re
import socket
from ipaddress import ip_address

import pytest

from streamcluster.errors import ConfigurationError, TryAgain
from streamcluster_coordinator.answers.peer_auth import Secret
from streamcluster_coordinator.answers.peer_port import PeerPort
from streamcluster_coordinator.answers.peer_sockets import listening_sockets
from streamcluster_coordinator.broker.ports import free_ports
from streamcluster_coordinator.dropped import Dropped
from streamcluster_coordinator.records.status import GetRows, RowsAnswer


async def nothing(_request: GetRows) -> RowsAnswer:
    """No rows."""
    return RowsAnswer()


def bound(advertise: str, listen: str | None = None) -> list[str]:
    """The addresses that are listened on for it."""
    sockets = asyncio.run(listening_sockets(advertise, listen))
    found = [str(sock.getsockname()[0]) for sock in sockets]
    for sock in sockets:
        sock.close()
    return found


def test_advertised_address_of_this_machine_is_the_only_one_listened_on() -> None:
    """A private address stays private."""
    assert bound(f"127.0.0.1:{free_ports(1)[0]}") == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b"])
def test_name_that_does_not_resolve_opens_nothing(host: str) -> None:
    """Mistyped, or asked for before the name servers can be reached: an end with a code, never all addresses."""
    (port,) = free_ports(1)
    with pytest.raises((ConfigurationError, TryAgain), match=rf"advertise={host}:{port}: .*the port is not opened"):
        bound(f"{host}:{port}")


def test_address_of_another_machine_opens_nothing_unless_asked() -> None:
    """As one that a router translates to this machine: where to listen is said with `listen`."""
    (port,) = free_ports(1)
    with pytest.raises(
        ConfigurationError, match=r"192\.0\.2\.7 .* is no address of this machine .*--listen 0\.0\.0\.0"
    ):
        bound(f"192.0.2.7:{port}")
    assert bound(f"192.0.2.7:{port}", f"127.0.0.1:{port}") == ["127.0.0.1"]
    assert bound(f"192.0.2.7:{port}", f"0.0.0.0:{port}") == ["0.0.0.0"]
    assert bound(f"127.0.0.1:{port}", f"[::]:{port}") == ["::"]


def test_log_says_where_it_listens() -> None:
    """The address, what others call it, and when it is all of them."""

    async def open_both() -> list[str]:
        lines: list[str] = []
        for listen in (None, "0.0.0.0"):
            (number,) = free_ports(1)
            place = f"{listen}:{number}" if listen else None
            port = PeerPort(
                f"127.0.0.1:{number}",
                Secret(b"a secret of all hosts"),
                app_id="shop",
                host="b",
                answer=nothing,
                say=lambda level, text: lines.append(f"{level} {text}"),
                listen=place,
                dropped=Dropped(),
            )
            await port.open()
            await port.close()
        return lines

    own, everywhere = asyncio.run(open_both())
    assert re.fullmatch(r"info listens for other hosts on (127.0.0.1:\d+), which reach it as \1", own)
    assert "on 0.0.0.0" in everywhere
    assert "(all addresses of this machine), which reach it as 127.0.0.1:" in everywhere


def test_own_name_that_is_a_loopback_address_here_is_not_taken_for_that() -> None:
    """Debian resolves the machine's name to 127.0.1.1, where nobody else could come in."""
    name = socket.gethostname()
    addresses = {str(info[4][0]) for info in socket.getaddrinfo(name, 1, type=socket.SOCK_STREAM)}
    address = f"{name}:{free_ports(1)[0]}"
    if all(ip_address(one).is_loopback for one in addresses):
        with pytest.raises(ConfigurationError, match="nothing but loopback addresses"):
            bound(address)
    else:
        assert not any(ip_address(one).is_loopback for one in bound(address)), addresses
