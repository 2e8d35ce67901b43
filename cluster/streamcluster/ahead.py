"""Ahead: what was finished beyond the committed position of a partition, in the metadata of that offset.

    {"<agent>": 17}                        its coroutine is 17 offsets ahead
    {"<agent>": [500, "<text>"]}           of its 500 lanes each is as far ahead as its part of the text says
    {"<agent>": [8, "", 500, "<text>"]}    concurrency= is 8 now; what the 500 lanes before had finished is done

What is finished is committed with its outputs and table writes, so that it is noted here is what keeps it from being
done again (I5). Brokers bound this text, so a lane takes four characters, and lanes (engine/lanes.py) are held within
reach of the oldest unfinished event: `OFFSETS_AHEAD_MAX`. Pure.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from .outside import Unreadable, parse

# How far each lane is ahead.
Split = tuple[int, ...]
# Brokers take at most so much with an offset, by default (offset.metadata.max.bytes).
METADATA_BYTES_MAX = 4096
# A partition is read no further than this beyond its oldest unfinished event, so that a lane takes three bytes. A gap
# in the offsets may lead beyond it: then it takes four.
OFFSETS_AHEAD_MAX = 2**23
# What an agent takes of the metadata: with one coroutine; with several, and for each of them, as base64.
ONE_CHARS = 26
LANES_CHARS = 46
LANE_CHARS = 4
# Lanes of now, and of an earlier concurrency=.
SPLITS_MAX = 2
_Count = Annotated[int, msgspec.Meta(gt=0, lt=2**62)]
_decode = msgspec.json.Decoder(dict[str, _Count | list[_Count | str]]).decode


def chars_max(concurrency: int) -> int:
    """What the metadata has to have room for, for an agent with so many lanes."""
    return ONE_CHARS if concurrency == 1 else LANES_CHARS + SPLITS_MAX * LANE_CHARS * concurrency


def short_name(unit: str) -> str:
    """An agent's name in the metadata: 12 hex digits."""
    return hashlib.blake2b(unit.encode(), digest_size=6).hexdigest()


def metadata_of(ahead: Mapping[str, Sequence[Split]]) -> str:
    """The metadata that says how far the lanes of these agents are ahead: those of now, then earlier ones."""
    noted = {short_name(unit): _noted(splits) for unit, splits in ahead.items() if any(map(any, splits))}
    return json.dumps(noted, sort_keys=True) if noted else ""


def position_of(unit: str, next_offset: int, metadata: str) -> int:
    """Up to where an agent has finished all events of a partition with this committed position."""
    lanes = [count for split in ahead_of(metadata).get(short_name(unit), []) for count in split]
    return next_offset + min(lanes, default=0)


def moved_back(metadata: str, count: int, others: Mapping[str, int]) -> str:
    """Metadata of the position `count` offsets earlier: these agents go on where they were, and all others there.

    others: agent -> its concurrency.
    """
    before = ahead_of(metadata)
    noted: dict[str, int | list[int | str]] = {}
    for unit, lanes in others.items():
        splits = before.get(short_name(unit), [(0,) * lanes])
        noted[short_name(unit)] = _noted([tuple([ahead + count for ahead in split]) for split in splits])
    return json.dumps(noted, sort_keys=True) if noted else ""


def _noted(splits: Sequence[Split]) -> int | list[int | str]:
    if len(splits) == 1 and len(splits[0]) == 1:
        return splits[0][0]
    return [part for split in splits for part in (len(split), _text_of(split))]


def _text_of(split: Split) -> str:
    width = (max(split).bit_length() + 7) // 8
    return b64encode(b"".join([count.to_bytes(width, "big") for count in split])).decode()


def ahead_of(metadata: str) -> dict[str, list[Split]]:
    """Short name of an agent -> how far its lanes are ahead; what we did not write counts as nothing."""
    if not metadata:
        return {}
    try:
        return parse(_read, metadata.encode(errors="replace"), METADATA_BYTES_MAX)
    except Unreadable:
        return {}


def _read(data: bytes) -> dict[str, list[Split]]:
    return {name: [(it,)] if isinstance(it, int) else _splits_of(it) for name, it in _decode(data).items()}


def _splits_of(noted: list[int | str]) -> list[Split]:
    splits: list[Split] = []
    for count, text in zip(noted[::2], noted[1::2], strict=True):
        if not isinstance(count, int) or not isinstance(text, str) or not count <= METADATA_BYTES_MAX:
            raise Unreadable("no lanes")
        packed = b64decode(text, validate=True)
        width, rest = divmod(len(packed), count)
        if rest:
            raise Unreadable("not so many lanes")
        splits.append(tuple([int.from_bytes(packed[at * width : (at + 1) * width], "big") for at in range(count)]))
    return splits
