"""The proofs and seals between coordinators: right ones pass, and whatever an attacker makes of them is refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster.protocol.wire import encode_frame
from streamcluster_coordinator.answers.peer_auth import (
    HELLO_BYTES,
    PROOF_BYTES,
    VERSION,
    Handshake,
    NotAuthentic,
    Opener,
    Role,
    Secret,
    hello,
    nonce_of_hello,
)

SECRET = Secret(b"a secret of all hosts")
FRAME_BYTES_MAX = 4096
NONCES = st.binary(min_size=32, max_size=32)
ROLES: tuple[Role, Role] = ("client", "server")
MESSAGES = st.lists(st.binary(max_size=40), min_size=1, max_size=6)


def handshake(
    secret: Secret = SECRET, app_id: str = "shop", host: str = "b", nonces: tuple[bytes, bytes] = (b"c" * 32, b"s" * 32)
) -> Handshake:
    """One as both sides of a good connection have it."""
    return Handshake(secret, app_id, host, *nonces)


def sealed(messages: Sequence[bytes], role: Role = "client") -> list[bytes]:
    """What `role` sends for these messages, frame by frame."""
    sealer, _ = handshake().channel(role, frame_bytes_max=FRAME_BYTES_MAX)
    return [sealer.seal(encode_frame(message)) for message in messages]


def opener(role: Role = "server") -> Opener:
    """The receiving end of `role`."""
    return handshake().channel(role, frame_bytes_max=FRAME_BYTES_MAX)[1]


def opened(data: bytes, role: Role = "server") -> tuple[list[bytes], bool]:
    """The frames that `role` believes, and whether it refused the rest."""
    found: list[bytes] = []
    try:
        for frame in opener(role).feed(data):
            found.append(frame)
    except NotAuthentic:
        return found, True
    return found, False


@given(NONCES, NONCES)
def test_both_sides_with_the_secret_agree(client: bytes, server: bytes) -> None:
    """Each role's proof is right for the other side, whatever the nonces are."""
    mine, theirs = handshake(nonces=(client, server)), handshake(nonces=(client, server))
    for role in ROLES:
        theirs.check(role, mine.proof(role))


@pytest.mark.parametrize(
    "other",
    [
        handshake(secret=Secret(b"another secret of hosts")),
        handshake(app_id="shop2"),
        handshake(host="c"),
        handshake(nonces=(b"x" * 32, b"s" * 32)),
        handshake(nonces=(b"c" * 32, b"x" * 32)),
        handshake(nonces=(b"s" * 32, b"c" * 32)),
        # Parts that would run into each other without their lengths.
        handshake(app_id="sho", host="pb"),
    ],
)
def test_proof_is_worth_nothing_elsewhere(other: Handshake) -> None:
    """Not with another secret, app, host or nonce: a proof that was overheard opens no other connection."""
    for role in ROLES:
        with pytest.raises(NotAuthentic):
            handshake().check(role, other.proof(role))


def test_proof_sent_back_is_refused() -> None:
    """Reflection: the proof that one side showed is not one of the other side."""
    with pytest.raises(NotAuthentic):
        handshake().check("server", handshake().proof("client"))


@given(st.integers(0, PROOF_BYTES * 8 - 1), st.integers(0, PROOF_BYTES - 1))
def test_changed_or_cut_proof_is_refused(bit: int, size: int) -> None:
    """Every single bit counts, and so does the length."""
    for role in ROLES:
        proof = handshake().proof(role)
        for wrong in (flipped(proof, bit), proof[:size], proof + b"\0"):
            with pytest.raises(NotAuthentic):
                handshake().check(role, wrong)


def flipped(data: bytes, bit: int) -> bytes:
    """The bytes with one bit the other way."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(st.binary(max_size=HELLO_BYTES + 8))
def test_hello_of_others_is_refused(data: bytes) -> None:
    """Garbage has no nonce."""
    with pytest.raises(NotAuthentic):
        nonce_of_hello(data)


def test_hello_tells_its_nonce_and_its_version() -> None:
    """The nonce comes back; another version's hello is refused with both versions, for our own log."""
    good = hello(b"n" * 32)

    assert (nonce_of_hello(good), len(good)) == (b"n" * 32, HELLO_BYTES)
    other = good.replace(b"peer" + bytes([VERSION]), b"peer" + bytes([VERSION + 1]))
    with pytest.raises(NotAuthentic, match=f"speaks version {VERSION + 1} .* this is version {VERSION}"):
        nonce_of_hello(other)


def test_secret_is_not_shown() -> None:
    """Neither the secret nor a handshake prints it."""
    assert "secret of all hosts" not in f"{SECRET!r} {SECRET} {handshake()!r}"


@given(MESSAGES, st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_frames_survive_any_cutting_of_the_bytes(messages: list[bytes], sizes: list[int]) -> None:
    """What was sealed comes out as it was, in order, whatever pieces the socket makes of it."""
    data = b"".join(sealed(messages))
    receiving = opener()
    found: list[bytes] = []
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        found += receiving.feed(data[at : at + size])
        at, turn = at + size, turn + 1

    assert found == [encode_frame(message) for message in messages]


@given(MESSAGES, st.data())
def test_flipped_bit_ends_the_channel(messages: list[bytes], data: st.DataObject) -> None:
    """A frame with any bit changed, its length and its seal included, is not believed, nor is what follows."""
    frames = sealed(messages)
    number = data.draw(st.integers(0, len(frames) - 1))
    bit = data.draw(st.integers(0, len(frames[number]) * 8 - 1))
    frames[number] = flipped(frames[number], bit)

    found, _ = opened(b"".join(frames))

    assert found == [encode_frame(message) for message in messages[:number]]


@given(MESSAGES, st.data())
def test_reordered_repeated_or_missing_frame_ends_the_channel(messages: list[bytes], data: st.DataObject) -> None:
    """Any other sequence of the same frames is believed up to the first one that is not in its place."""
    frames = sealed(messages)
    order = data.draw(st.lists(st.integers(0, len(frames) - 1), max_size=8))
    right = next((at for at, number in enumerate(order) if at != number), len(order))

    found, refused = opened(b"".join(frames[number] for number in order))

    assert found == [encode_frame(message) for message in messages[:right]]
    assert refused == (right < len(order))


@given(MESSAGES)
def test_reflected_frame_is_refused(messages: list[bytes]) -> None:
    """What a side sent is not taken by that side."""
    for role in ROLES:
        assert opened(b"".join(sealed(messages, role)), role) == ([], True)


@given(MESSAGES, st.data())
def test_truncated_frame_is_not_believed(messages: list[bytes], data: st.DataObject) -> None:
    """Without its last byte a frame is still waited for."""
    frames = sealed(messages)
    size = data.draw(st.integers(0, sum(map(len, frames)) - 1))

    found, refused = opened(b"".join(frames)[:size])

    assert not refused
    assert found == [encode_frame(message) for message in messages[: len(found)]]
    assert len(found) < len(messages)


@given(st.binary(max_size=300))
def test_garbage_yields_no_frame(data: bytes) -> None:
    """No bytes that were not sealed come out."""
    assert opened(data)[0] == []


def test_frame_of_another_connection_is_refused() -> None:
    """The key is the connection's: a recorded request cannot be played to the same host again."""
    [frame] = sealed([b"request"])
    _, later = handshake(nonces=(b"c" * 32, b"t" * 32)).channel("server", frame_bytes_max=FRAME_BYTES_MAX)

    with pytest.raises(NotAuthentic):
        list(later.feed(frame))


def test_large_frame_is_refused_at_its_length_and_for_good() -> None:
    """It is not waited for, and the channel takes nothing after it."""
    receiving = opener()
    with pytest.raises(NotAuthentic, match=f"larger than {FRAME_BYTES_MAX}"):
        list(receiving.feed((FRAME_BYTES_MAX + 1).to_bytes(4, "big")))
    with pytest.raises(NotAuthentic):
        list(receiving.feed(b""))
