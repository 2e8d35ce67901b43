"""How two coordinators prove to each other that they share the cluster's secret, and what they then seal with it.

    client -> server   hello: magic, version, client's nonce
    server -> client   server's nonce
    client -> server   proof of the client      whoever lacks the secret has seen a random number, and sees no more
    server -> client   proof of the server

A proof is an HMAC-SHA256 of the secret over role, version, app id, the server's host name and both nonces: it is worth
nothing for the other role, another app, another host or another connection. Every frame after that carries an HMAC of a
key of its direction over a counter and the frame, so none can be changed, added, left out, repeated or put elsewhere.
Nothing is hidden by this: who listens reads along. It knows no socket and draws no random numbers.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

VERSION = 1
_MAGIC = b"streamcluster-peer"
NONCE_BYTES = 32
HELLO_BYTES = len(_MAGIC) + 1 + NONCE_BYTES
PROOF_BYTES = 32
_SIZE_BYTES = 4

Role = Literal["client", "server"]


class NotAuthentic(Exception):
    """The other side does not have the secret, or is none of ours, or somebody between us changed what it sent."""


@dataclass(frozen=True, slots=True)
class Secret:
    """What all hosts of an app share. Never shown."""

    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Handshake:
    """What both sides must mean to talk to each other. host: the server's name in the cluster."""

    secret: Secret
    app_id: str
    host: str
    client_nonce: bytes
    server_nonce: bytes

    def proof(self, role: Role) -> bytes:
        """What `role` shows to have the secret."""
        return self._derived(f"{role} proof")

    def check(self, role: Role, shown: bytes) -> None:
        """Raise NotAuthentic unless `shown` is the proof of `role`."""
        if not hmac.compare_digest(self.proof(role), shown):
            raise NotAuthentic("it has another secret, or means another app or host")

    def channel(self, role: Role, *, frame_bytes_max: int) -> tuple[Sealer, Opener]:
        """What `role` seals its frames with, and what it opens the other's with. For one connection, once."""
        keys = {"client": self._derived("client frames"), "server": self._derived("server frames")}
        other: Role = "server" if role == "client" else "client"
        return Sealer(keys[role]), Opener(keys[other], frame_bytes_max=frame_bytes_max)

    def _derived(self, label: str) -> bytes:
        parts = (label.encode(), bytes([VERSION]), self.app_id.encode(), self.host.encode())
        # Each part with its length: no two handshakes have the same text.
        text = b"".join(_sized(part) for part in (*parts, self.client_nonce, self.server_nonce))
        return hmac.digest(self.secret.content, text, hashlib.sha256)


def hello(nonce: bytes) -> bytes:
    """The client's first bytes."""
    return _MAGIC + bytes([VERSION]) + nonce


def nonce_of_hello(data: bytes) -> bytes:
    """The client's nonce. Raises NotAuthentic: it is not a client of ours, or of another version."""
    start = _MAGIC + bytes([VERSION])
    if not data.startswith(_MAGIC) or len(data) != HELLO_BYTES:
        raise NotAuthentic("it does not speak our protocol")
    if not data.startswith(start):
        raise NotAuthentic(f"it speaks version {data[len(_MAGIC)]} of our protocol, and this is version {VERSION}")
    return data[len(start) :]


class Sealer:
    """Makes the frames of one direction unforgeable."""

    __slots__ = ("_count", "_key")

    def __init__(self, key: bytes) -> None:
        self._key = key
        # Frames sealed so far.
        self._count = 0

    def seal(self, frame: bytes) -> bytes:
        """A frame of wire.py as it goes out."""
        sealed = frame + _seal(self._key, self._count, frame)
        self._count += 1
        return sealed


class Opener:
    """Gives the frames of one direction back, in the order in which they were sealed, or none."""

    __slots__ = ("_buffer", "_count", "_frame_bytes_max", "_is_broken", "_key")

    def __init__(self, key: bytes, *, frame_bytes_max: int) -> None:
        self._key = key
        self._frame_bytes_max = frame_bytes_max
        # Frames opened so far.
        self._count = 0
        self._buffer = bytearray()
        # After the first forgery nothing is believed any more.
        self._is_broken = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add `data` and yield each frame that is whole now, as it was sealed.

        Raises:
            NotAuthentic: a frame that was not sealed for this place of this connection, or is too large.
        """
        if self._is_broken:
            raise NotAuthentic("it has sent a frame that is not one of ours")
        self._buffer += data
        while len(self._buffer) >= _SIZE_BYTES:
            size = int.from_bytes(self._buffer[:_SIZE_BYTES], "big")
            end = _SIZE_BYTES + size
            if size > self._frame_bytes_max:
                self._is_broken = True
                raise NotAuthentic(f"a frame of {size} bytes is larger than {self._frame_bytes_max}")
            if len(self._buffer) < end + PROOF_BYTES:
                return
            frame, seal = bytes(self._buffer[:end]), bytes(self._buffer[end : end + PROOF_BYTES])
            del self._buffer[: end + PROOF_BYTES]
            if not hmac.compare_digest(_seal(self._key, self._count, frame), seal):
                self._is_broken = True
                raise NotAuthentic(f"frame {self._count} is not what was sent")
            self._count += 1
            yield frame


def _seal(key: bytes, count: int, frame: bytes) -> bytes:
    return hmac.digest(key, count.to_bytes(8, "big") + frame, hashlib.sha256)


def _sized(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part
