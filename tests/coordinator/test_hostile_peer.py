"""A host that has the secret and is hostile: its own conversation ends, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from streamcluster.protocol.wire import encode_frame
from streamcluster_coordinator.answers.peer_auth import Handshake, hello
from streamcluster_coordinator.records.status import GetRows, RowsAnswer
from tests.coordinator.ports import REQUEST, SECRET, client, ended, listening


@pytest.mark.parametrize(
    "body",
    [b"\xa2\xff\xfe", b"\x91" * 5_000, encode_frame({"type": "GetRows", "table": "x" * 301})[4:], b"fails"],
    ids=["no text", "deep", "long", "an answer that fails"],
)
def test_a_hostile_host_with_the_secret_ends_its_conversation_only(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing ends unseen in asyncio; the next question is answered."""

    async def fails(request: GetRows) -> RowsAnswer:
        if request.table == "fails":
            raise KeyError("nonsense")
        return RowsAnswer()

    async def talk() -> None:
        async with listening(fails) as server:
            reader, writer = await server.connect()
            writer.write(hello(b"n" * 32))
            handshake = Handshake(SECRET, "shop", "b", b"n" * 32, await reader.readexactly(32))
            writer.write(handshake.proof("client"))
            await reader.readexactly(32)
            sealer, _ = handshake.channel("client", frame_bytes_max=1 << 20)
            frame = encode_frame(GetRows(table="fails")) if body == b"fails" else len(body).to_bytes(4, "big") + body
            writer.write(sealer.seal(frame))
            assert await ended(reader, writer) == b""
            await server.said("refused 127.0.0.1 at the port for other hosts: ")
            assert await client().ask("b", server.address, REQUEST) == RowsAnswer()

    asyncio.run(talk())
    assert caplog.text == ""
