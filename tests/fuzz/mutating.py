"""Valid bytes, damaged: as bytes, and as the trees of JSON or msgpack that they are.

`damaged` draws from a `random.Random`, so that hypothesis shrinks what it finds (`st.randoms(use_true_random=False)`)
and `python -m tests.fuzz` runs the same for hours from seeds. It knows no decoder.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec

# More levels than the interpreter's recursion limit has.
DEEP = 5_000
STEPS_MAX = 4


@dataclass(frozen=True, slots=True)
class Raw:
    """A part of a tree that is written as it is."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Format:
    """How trees are read and written. hostile: leaves that only this format has."""

    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]
    hostile: tuple[Raw, ...]


def write_json(tree: object) -> bytes:
    """A tree with Raw parts as JSON, surrogates and all."""
    match tree:
        case Raw():
            return tree.data
        case dict():
            pairs = (json.dumps(str(key)).encode() + b":" + write_json(value) for key, value in tree.items())
            return b"{" + b",".join(pairs) + b"}"
        case list():
            return b"[" + b",".join(map(write_json, tree)) + b"]"
        case _:
            return json.dumps(tree).encode()


def write_msgpack(tree: object) -> bytes:
    """A tree with Raw parts as msgpack; surrogates are written as bytes that are no UTF-8."""
    match tree:
        case Raw():
            return tree.data
        case dict():
            pairs = (write_msgpack(key) + write_msgpack(value) for key, value in tree.items())
            return b"\xdf" + struct.pack(">I", len(tree)) + b"".join(pairs)
        case list():
            return b"\xdd" + struct.pack(">I", len(tree)) + b"".join(map(write_msgpack, tree))
        case str():
            text = tree.encode("utf-8", "surrogatepass")
            return b"\xdb" + struct.pack(">I", len(text)) + text
        case int() if not -(1 << 63) <= tree < 1 << 64:
            return write_msgpack(float(tree)) if abs(tree) < 10**300 else write_msgpack(str(tree))
        case _:
            return msgspec.msgpack.encode(tree)


JSON = Format(
    json.loads,
    write_json,
    (
        Raw(b'"\xff\xfe"'),
        Raw(b'{"x":' * DEEP),
        Raw(b"[" * DEEP + b"]" * DEEP),
        Raw(b"1" * DEEP),
        Raw(b"-1e9999"),
        Raw(b'"\\ud800"'),
    ),
)
MSGPACK = Format(
    msgspec.msgpack.decode,
    write_msgpack,
    (
        Raw(b"\xa2\xff\xfe"),
        Raw(b"\x91" * DEEP + b"\xc0"),
        Raw(b"\x81\xa1x" * DEEP + b"\xc0"),
        # An array that says to have 4 million members: should a decoder make room for them, it is for 34 MB.
        Raw(b"\xdd\x00\x40\x00\x00"),
        Raw(b"\xc7\x00\x01"),
        Raw(b"\xd6\xff\xff\xff\xff\xff"),
    ),
)

# What stands where something else is expected: other types, bounds and one past them, ids that are none.
_LEAVES: tuple[object, ...] = (
    *(None, True, False, 0, 1, -1, 1 << 31, 1 << 53, 1 << 63, (1 << 64) - 1, 1 << 64, 10**30, -(10**30), 0.5, -0.0),
    *(float("nan"), float("inf"), "", "x", "\x00", "\ud800", "\x1b]0;x\x07", "\u202e", "null", "5"),
    *("_", "2_", "_0", "2_0", "2_9", "0_0", "-1_0", "2_-1", "\u00b2_0", "\u0663_0", "1_0_0", " 2_0", "1e3_0"),
    *("9" * 5_000 + "_0", "99999999999999999999_0", "a", "a/", "/0", "a/0", "a/-1", "a/\u0663", "a/b/0", "a b/0"),
    *("a/" + "9" * 5_000, "a/4294967296", "x" * 300, "y" * 70_000),
    *([], {}, [[]], [None], {"": None}, {"x": {}}, ["2_0", 7], {"2_0": "a/0"}, {"nonsense": 5}),
)
_BYTES = (b"\xff\xfe", b"\x00", b"\xed\xa0\x80", b"\xc3", b"{", b"[", b'"', b"}", b"\x91", b"\x81", b"\xc1", b"9" * 40)


def damaged(random: Random, valid: Sequence[bytes], form: Format | None) -> bytes:
    """One of the valid ones with one to STEPS_MAX changes, as a tree (if they are trees) or as bytes; or both."""
    data = random.choice(valid)
    if form is not None and random.random() < 0.7:
        tree = form.read(data)
        for _ in range(random.randint(1, STEPS_MAX)):
            tree = _changed_tree(random, tree, form)
        data = form.write(tree)
        if random.random() < 0.8:
            return data
    for _ in range(random.randint(1, STEPS_MAX)):
        data = _changed_bytes(random, data)
    return data


def damaged_tree(random: Random, valid: Sequence[bytes], form: Format) -> bytes:
    """The same, as a tree only: what is still likely to be decoded."""
    tree = form.read(random.choice(valid))
    for _ in range(random.randint(1, STEPS_MAX)):
        tree = _changed_tree(random, tree, form)
    return form.write(tree)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of each node below the root."""
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict | list):
            for key, value in list(one.items() if isinstance(one, dict) else enumerate(one)):
                yield one, key
                waiting.append(value)


def _leaf(random: Random, form: Format) -> Any:
    # A copy, or later changes would be made to the constant.
    return _copied(random.choice((*_LEAVES, *form.hostile)))


def _changed_tree(random: Random, tree: Any, form: Format) -> Any:
    places = list(_places(tree))
    if not places:
        return _leaf(random, form)
    container, key = random.choice(places)
    value = container[key]
    match random.randrange(7):
        case 0:
            del container[key]
        case 1 if isinstance(value, int) and not isinstance(value, bool):
            container[key] = value + random.choice((-1, 1, -1000, 1000, 1 << 40))
        case 2:
            # What fits somewhere else: an id of another kind, a list for a number.
            other, there = random.choice(places)
            container[key] = _copied(other[there])
        case 3 if isinstance(container, dict):
            name = random.choice([text for text in _LEAVES if isinstance(text, str)])
            container[name] = container.pop(key)
        case 4 if isinstance(container, list):
            container += [_copied(value)] * random.choice((1, 2, 300))
        case 5:
            container[key] = [value] if random.random() < 0.5 else {"x": value}
        case _:
            container[key] = _leaf(random, form)
    return tree


def _copied(tree: Any) -> Any:
    """A copy that shares no container, of any depth that a reader made."""
    match tree:
        case dict():
            return {key: _copied(value) for key, value in tree.items()}
        case list():
            return [_copied(value) for value in tree]
        case _:
            return tree


def _changed_bytes(random: Random, data: bytes) -> bytes:
    at = random.randint(0, len(data))
    to = min(len(data), at + random.choice((1, 2, 8, 64)))
    match random.randrange(6):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[to:]
        case 2:
            return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]
        case 3:
            return data[:at] + random.choice(_BYTES) + data[at:]
        case 4:
            return data[:at] + data[at:to] * random.choice((2, 3, 50)) + data[to:]
        case _:
            return data[:at] + random.choice((b"[", b"\x91", b'{"x":')) * DEEP + data[at:]
