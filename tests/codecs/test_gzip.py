"""The codec gzip: what the library gives, and never more than is taken."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster.codecs import pack, unpack
from streamcluster.codecs.coding import make_decoder, make_encoder
from streamcluster.codecs.table_coding import make_table_coder
from streamcluster.errors import DecodeError
from streamcluster.settings import Settings

BYTES_MAX = 10_000
# Two seconds on an idle machine, and two minutes if each were a copy of the rest.
LINEAR_SECONDS = 30.0
REFUSED = (DecodeError, EOFError, OSError, zlib.error)


def of_library(data: bytes) -> bytes | None:
    """What gzip.decompress says; None: an error."""
    try:
        return gzip.decompress(data)
    except REFUSED:
        return None


def of_codec(data: bytes) -> bytes | None:
    """The same of the codec."""
    try:
        return unpack(data, BYTES_MAX)
    except REFUSED:
        return None


@given(
    members=st.lists(st.binary(max_size=300), min_size=1, max_size=4),
    padding=st.integers(0, 9),
    at=st.integers(0, 10_000),
    flip=st.integers(0, 255),
    cut=st.integers(0, 3),
)
def test_unpacking_is_the_librarys(members: list[bytes], padding: int, at: int, flip: int, cut: int) -> None:
    """Several members, padding, a changed byte, a missing end: the same value, or an error of a known kind."""
    data = bytearray(b"".join(map(gzip.compress, members)) + bytes(padding))
    data[at % len(data)] ^= flip
    whole = bytes(data[: len(data) - cut])
    assert of_codec(whole) == of_library(whole)


@pytest.mark.parametrize("parts", [1, 3])
def test_more_than_is_taken_is_refused_before_it_is_there(parts: int) -> None:
    """200 kB that would be 200 MB cost what is taken, and no more."""
    bomb = gzip.compress(bytes(200_000_000 // parts)) * parts
    tracemalloc.start()
    with pytest.raises(DecodeError, match="codec_unpacked_bytes_max"):
        unpack(bomb, BYTES_MAX)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * BYTES_MAX + len(bomb)


def test_the_bound_itself_is_taken_and_what_is_written_is_read() -> None:
    """One byte more is refused by both, so nothing is written that cannot be read."""
    assert unpack(pack(bytes(BYTES_MAX), BYTES_MAX), BYTES_MAX) == bytes(BYTES_MAX)
    with pytest.raises(ValueError, match="codec_unpacked_bytes_max"):
        pack(bytes(BYTES_MAX + 1), BYTES_MAX)
    with pytest.raises(DecodeError):
        unpack(pack(bytes(BYTES_MAX + 1)), BYTES_MAX)


@pytest.mark.parametrize("serializer", ["gzip", "raw|gzip", "json|gzip", "json|gzip|gzip", "json|gzip|binary"])
def test_topics_and_tables_have_the_bound_of_the_settings(serializer: str) -> None:
    """Wherever gzip is in a chain."""
    settings = Settings(id="a", producer_max_request_size=BYTES_MAX // 10)
    bounds = settings.codec_bounds
    fits, too_large = "x" * (BYTES_MAX - 2), "x" * (BYTES_MAX + 1)
    encode_table, decode_table = make_table_coder(str, serializer, **bounds)
    encode = make_encoder(str, serializer, default_serializer="json", **bounds)
    decode = make_decoder(str, serializer, default_serializer="json", **bounds)
    wide: dict[str, Any] = {**bounds, "unpacked_bytes_max": 10 * BYTES_MAX}
    encode_wide = make_encoder(str, serializer, default_serializer="json", **wide)
    for write, read in ((encode, decode), (encode_table, decode_table)):
        assert len(read(write(fits) or b"")) == len(fits)
        with pytest.raises(ValueError, match="codec_unpacked_bytes_max"):
            write(too_large)
        with pytest.raises(DecodeError, match="codec_unpacked_bytes_max"):
            read(encode_wide(too_large) or b"")


def test_many_small_members_take_no_longer_than_one() -> None:
    """Each is not a copy of all that follow: 400,000 in a record would hold the loop up for two minutes."""
    data = gzip.compress(b"", mtime=0) * 400_000
    began = time.perf_counter()
    assert unpack(data, BYTES_MAX) == b""
    assert time.perf_counter() - began < LINEAR_SECONDS
