"""The port between coordinators, with both of its real ends and with clients that do not keep to the protocol."""

from __future__ import annotations

import asyncio

import pytest

from streamcluster.errors import ConfigurationError
from streamcluster.protocol.wire import encode_frame
from streamcluster_coordinator.answers import peer_port
from streamcluster_coordinator.answers.peer_auth import Handshake, Secret, hello
from streamcluster_coordinator.answers.peer_port import PeerClient, PeerError, Refusals
from streamcluster_coordinator.broker.ports import free_ports
from streamcluster_coordinator.records.status import GetRows, RowsAnswer
from tests.coordinator.ports import REQUEST, SECONDS, SECRET, client, ended, listening


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is too slow, unless a test is about that."""
    monkeypatch.setattr(peer_port, "HANDSHAKE_SECONDS", SECONDS)
    monkeypatch.setattr(peer_port, "REQUEST_SECONDS", SECONDS)


def test_request_with_the_secret_is_answered() -> None:
    """The answer comes as it was, also to many at once, and nothing is said about it."""

    async def talk() -> tuple[list[RowsAnswer], list[str]]:
        async with listening() as server:
            asked = [client().ask("b", server.address, REQUEST) for _ in range(20)]
            return await asyncio.gather(*asked), server.lines

    answers, lines = asyncio.run(talk())

    assert answers == [RowsAnswer(rows=(("counts", '"a"'),), lag=3)] * 20
    assert lines == []


def test_large_answer_comes_whole() -> None:
    """As large as a page of rows may be."""
    rows = tuple((str(number), "x" * 100_000) for number in range(100))

    async def many(_: GetRows) -> RowsAnswer:
        return RowsAnswer(rows=rows)

    async def talk() -> RowsAnswer:
        async with listening(many) as server:
            return await client().ask("b", server.address, REQUEST)

    assert asyncio.run(talk()).rows == rows


@pytest.mark.parametrize(
    ("asking", "host"),
    [(client(Secret(b"another secret of hosts")), "b"), (client(app_id="shop2"), "b"), (client(), "c")],
    ids=["secret", "app", "host"],
)
def test_wrong_secret_app_or_host_is_said_on_both_sides(asking: PeerClient, host: str) -> None:
    """The client gets an error with the address, the server logs who it was, and the question is not answered."""
    asked: list[GetRows] = []

    async def note(request: GetRows) -> RowsAnswer:
        asked.append(request)
        return RowsAnswer()

    async def talk() -> tuple[str, str]:
        async with listening(note) as server:
            with pytest.raises(PeerError) as caught:
                await asking.ask(host, server.address, REQUEST)
            await server.said("refused 127.0.0.1 at the port for other hosts: it has another secret")
            assert server.port.refusals.total == 1
            return str(caught.value), server.address

    text, address = asyncio.run(talk())

    assert text == f"{address} does not accept our secret, or is not a streamcluster of this app on host {host}"
    assert asked == []


def test_refusals_are_counted_and_said_once_a_minute() -> None:
    """The first is said at once, the next ones with the first line after a minute."""
    refusals = Refusals()

    assert refusals.line("10.0.0.7", "no", 0.0) == "refused 10.0.0.7 at the port for other hosts: no"
    assert [refusals.line("10.0.0.7", "no", now) for now in (0.1, 59.9)] == [None, None]
    later = refusals.line("10.0.0.8", "no", 60.0)
    assert later == "refused 10.0.0.8 at the port for other hosts: no, and 2 more since the last line"
    assert refusals.total == 4


@pytest.mark.parametrize(
    "data",
    [
        encode_frame(REQUEST),
        b"GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\nAccept: text/html, */*\r\n\r\n",
        b"\xff" * 500,
        b"\x16\x03\x01" + b"\0" * 200,
    ],
    ids=["request", "http", "bytes", "tls"],
)
def test_request_without_the_secret_gets_nothing(data: bytes) -> None:
    """Not a byte comes back, the connection is closed, and others are still served."""

    async def talk() -> bytes:
        async with listening() as server:
            reader, writer = await server.connect()
            writer.write(data)
            got = await ended(reader, writer)
            await server.said("refused 127.0.0.1")
            assert (await client().ask("b", server.address, REQUEST)).lag == 3
            return got

    assert asyncio.run(talk()) == b""


def test_hello_without_a_proof_gets_a_random_number_only() -> None:
    """Who replays a hello and a proof of an earlier connection is cut off after the challenge."""
    old = Handshake(SECRET, "shop", "b", b"c" * 32, b"s" * 32)

    async def talk() -> bytes:
        async with listening() as server:
            reader, writer = await server.connect()
            writer.write(hello(b"c" * 32) + old.proof("client") + encode_frame(REQUEST))
            return await ended(reader, writer)

    assert len(asyncio.run(talk())) <= 32


def test_frame_that_is_not_sealed_ends_the_conversation() -> None:
    """After a good handshake, somebody on the way puts in a request of his own: it is refused and said."""

    async def talk() -> tuple[bytes, list[str]]:
        async with listening() as server:
            reader, writer = await server.connect()
            writer.write(hello(b"c" * 32))
            handshake = Handshake(SECRET, "shop", "b", b"c" * 32, await reader.readexactly(32))
            writer.write(handshake.proof("client"))
            handshake.check("server", await reader.readexactly(32))
            writer.write(encode_frame(REQUEST) + b"\0" * 32)
            got = await ended(reader, writer)
            await server.said("frame 0 is not what was sent")
            return got, server.lines

    assert asyncio.run(talk())[0] == b""


@pytest.mark.parametrize("sent", [b"", hello(b"n" * 32)[:20], hello(b"n" * 32)], ids=["nothing", "part", "hello"])
def test_slow_and_half_open_clients_are_dropped(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not finish the handshake in time is cut off and said."""
    monkeypatch.setattr(peer_port, "HANDSHAKE_SECONDS", 0.1)

    async def talk() -> None:
        async with listening() as server:
            reader, writer = await server.connect()
            writer.write(sent)
            await ended(reader, writer)
            await server.said("did not prove within 0.1 s that it has the secret")

    asyncio.run(talk())


def test_client_with_the_secret_that_asks_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor may a host that is one of ours keep a connection open."""
    monkeypatch.setattr(peer_port, "REQUEST_SECONDS", 0.1)

    async def talk() -> bytes:
        async with listening() as server:
            reader, writer = await server.connect()
            writer.write(hello(b"c" * 32))
            handshake = Handshake(SECRET, "shop", "b", b"c" * 32, await reader.readexactly(32))
            writer.write(handshake.proof("client"))
            await reader.readexactly(32)
            return await ended(reader, writer)

    assert asyncio.run(talk()) == b""


def test_look_whether_somebody_listens_is_not_said() -> None:
    """A health check connects and closes: that is no attempt to get in."""

    async def talk() -> tuple[int, list[str]]:
        async with listening() as server:
            for _ in range(3):
                _, writer = await server.connect()
                writer.close()
                await writer.wait_closed()
            await client().ask("b", server.address, REQUEST)
            return server.port.refusals.total, server.lines

    assert asyncio.run(talk()) == (0, [])


def test_connections_above_the_bound_are_closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent ones do not add up; when they are gone, hosts are served again."""
    monkeypatch.setattr(peer_port, "CONNECTIONS_MAX", 3)

    async def talk() -> str:
        async with listening() as server:
            silent = [await server.connect() for _ in range(3)]
            for _, writer in silent:
                writer.write(hello(b"n" * 32))
            # Each has been taken in once it is challenged.
            for reader, _ in silent:
                await reader.readexactly(32)
            with pytest.raises(PeerError) as caught:
                await client().ask("b", server.address, REQUEST)
            await server.said("3 connections are open already")
            for _, writer in silent:
                writer.close()
            async with asyncio.timeout(SECONDS):
                while True:
                    try:
                        assert (await client().ask("b", server.address, REQUEST)).lag == 3
                    except PeerError:
                        await asyncio.sleep(0.01)
                    else:
                        return str(caught.value)

    assert "closed the connection at once" in asyncio.run(talk())


def test_nobody_there_is_said_with_the_reason() -> None:
    """Nothing listens, or the name is not known: a PeerError with the address."""

    async def ask(address: str) -> str:
        with pytest.raises(PeerError) as caught:
            await client().ask("b", address, REQUEST)
        return str(caught.value)

    address = f"127.0.0.1:{free_ports(1)[0]}"
    assert asyncio.run(ask(address)) == f"{address} cannot be reached: Connection refused"
    assert asyncio.run(ask("no-such-host.invalid:1")).startswith("no-such-host.invalid:1 cannot be reached: ")


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 100], ids=["silent", "http"])
def test_server_that_is_none_of_ours_is_refused(reply: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says nothing is not waited for, one that says something else is not believed, none sees the secret."""
    # So long it also has to connect.
    monkeypatch.setattr(peer_port, "HANDSHAKE_SECONDS", SECONDS if reply else 5.0)

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        got.put_nowait(await reader.read())
        writer.close()

    async def talk() -> tuple[str, bytes]:
        server = await asyncio.start_server(other, "127.0.0.1", 0)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(PeerError) as caught:
            await client().ask("b", address, REQUEST)
        async with asyncio.timeout(SECONDS):
            received = await got.get()
        server.close()
        return str(caught.value), received

    got: asyncio.Queue[bytes] = asyncio.Queue()
    text, received = asyncio.run(talk())

    assert ("does not accept our secret" if reply else "did not answer in time") in text
    assert SECRET.content not in received


def test_end_does_not_wait_for_a_slow_answer() -> None:
    """A question that is being answered when the host stops is cut off."""
    begun = asyncio.Event()

    async def never(_: GetRows) -> RowsAnswer:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def talk() -> str:
        async with listening(never) as server:
            asking = asyncio.create_task(client().ask("b", server.address, REQUEST))
            await begun.wait()
        with pytest.raises(PeerError) as caught:
            await asking
        return str(caught.value)

    assert "closed the connection without an answer" in asyncio.run(talk())


def test_port_in_use_is_one_error_that_says_what_to_do() -> None:
    """The operator learns which setting to change."""

    async def twice() -> str:
        async with listening() as server:
            with pytest.raises(ConfigurationError) as caught:
                async with listening(advertise=server.address):
                    raise AssertionError
            return str(caught.value)

    assert "the port is in use. Stop what listens there, or choose another port" in asyncio.run(twice())
