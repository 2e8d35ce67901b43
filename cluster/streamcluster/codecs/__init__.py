"""Codecs: objects to bytes and back, by name or as objects, chained with `|`.

A chain dumps from left to right and loads from right to left. Types are not known here; `coding.py` puts both together.
"""

from __future__ import annotations

import base64
import difflib
import gzip
import io
import pickle
import zlib
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

from ..errors import DecodeError, ImproperlyConfigured, NotOffered
from .plain import dumps as dumps_json
from .plain import loads as loads_json

# zlib's word for gzip's header and check sum.
_GZIP_BITS = 31


class Codec:
    """Turns objects into bytes and back. Subclass it with `_dumps` and `_loads`, or give it two functions.

    Args:
        children: the codecs that follow in a chain. dumps, loads: the functions, unless a subclass has them.
        kwargs: kept for the subclass, in `self.kwargs`.
    """

    def __init__(
        self,
        children: tuple[Codec, ...] | None = None,
        *,
        dumps: Callable[[Any], bytes] | None = None,
        loads: Callable[[bytes], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.children = tuple(children or ())
        self.nodes: tuple[Codec, ...] = (self, *self.children)
        self.kwargs = kwargs
        self._functions = (dumps, loads)

    def _dumps(self, obj: Any) -> bytes:
        function = self._functions[0]
        if function is None:
            raise NotImplementedError(f"{type(self).__name__} has no _dumps method.")
        return function(obj)

    def _loads(self, s: bytes) -> Any:
        function = self._functions[1]
        if function is None:
            raise NotImplementedError(f"{type(self).__name__} has no _loads method.")
        return function(s)

    def dumps(self, obj: Any) -> bytes:
        """Through every codec of the chain, from left to right."""
        for node in self.nodes:
            obj = node._dumps(obj)
        data: bytes = obj
        return data

    def loads(self, s: bytes) -> Any:
        """Through every codec of the chain, from right to left."""
        obj: Any = s
        for node in reversed(self.nodes):
            obj = node._loads(obj)
        return obj

    def clone(self, *children: Codec) -> Codec:
        """This chain, followed by `children`."""
        dumps, loads = self._functions
        functions: dict[str, Any] = {} if dumps is None and loads is None else {"dumps": dumps, "loads": loads}
        chain = type(self)(children=self.children + children, **functions, **self.kwargs)
        # The nodes stay the objects that they were, so a chain that starts with JSON can be told by identity.
        chain.nodes = (*self.nodes, *children)
        return chain

    def __or__(self, other: object) -> Codec:
        """`a | b`: what `a` dumps goes into `b`."""
        if not isinstance(other, Codec):
            return NotImplemented
        return self.clone(*other.nodes)


def to_bytes(value: Any) -> bytes:
    """Bytes as they are, text as UTF-8, numbers and ids as text, everything else as JSON (what `raw` dumps)."""
    kind = value.__class__
    if kind is bytes:
        data: bytes = value
        return data
    if isinstance(value, str):
        return str.encode(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (int, float, Decimal, UUID)) and kind is not bool:
        return str(value).encode()
    return dumps_json(value)


# Unless the setting codec_unpacked_bytes_max says otherwise: ten times the largest record by default.
UNPACKED_BYTES_MAX = 10 * 1024 * 1024


def pack(value: Any, bytes_max: int = UNPACKED_BYTES_MAX) -> bytes:
    """gzip. Raises ValueError for what `unpack` would refuse."""
    data = to_bytes(value)
    if len(data) > bytes_max:
        raise ValueError(f"{len(data)} bytes for gzip: {_too_large(bytes_max)}")
    # mtime=0: the same value always gives the same bytes.
    return gzip.compress(data, mtime=0)


def unpack(data: bytes, bytes_max: int = UNPACKED_BYTES_MAX) -> bytes:
    """What `gzip.decompress` gives, without ever making more than bytes_max of it.

    Raises:
        DecodeError: it would be more. EOFError, OSError, zlib.error: as `gzip.decompress`.
    """
    unpacked = _unpack_one(data, bytes_max + 1)
    if unpacked is None:
        # Several, one behind the other, or none: the library reads and says what it always did.
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            unpacked = file.read(bytes_max + 1)
    if len(unpacked) > bytes_max:
        raise DecodeError(f"{len(data)} bytes of gzip: {_too_large(bytes_max)}")
    return unpacked


def _unpack_one(data: bytes, bytes_max: int) -> bytes | None:
    """At most so much of what is in one gzip member; None: it is something else."""
    one = zlib.decompressobj(wbits=_GZIP_BITS)
    try:
        unpacked = one.decompress(data, bytes_max)
    except zlib.error:
        return None
    return unpacked if len(unpacked) == bytes_max or (one.eof and not one.unused_data) else None


def _too_large(bytes_max: int) -> str:
    return f"at most {bytes_max} unpacked bytes are taken (the setting codec_unpacked_bytes_max)"


JSON = Codec(dumps=dumps_json, loads=loads_json)
RAW = Codec(dumps=to_bytes, loads=bytes.__bytes__)
BINARY = Codec(
    dumps=lambda value: base64.b64encode(to_bytes(value)), loads=lambda data: base64.b64decode(data, validate=True)
)
GZIP = Codec(dumps=pack, loads=unpack)
PICKLE = Codec(
    dumps=lambda value: base64.b64encode(pickle.dumps(value)),
    loads=lambda data: pickle.loads(base64.b64decode(data, validate=True)),
)

codecs: dict[str, Codec] = {"json": JSON, "raw": RAW, "binary": BINARY, "gzip": GZIP, "pickle": PICKLE}

NOT_OFFERED = {
    "pickle_restricted": "choose 'json', or 'pickle' with allow_pickle=True when every producer is trusted",
    "pickle_fickling": "choose 'json', or 'pickle' with allow_pickle=True when every producer is trusted",
    "yaml": "choose 'json', or register a codec of your own with codecs.register",
}


def register(name: str, codec: Codec) -> None:
    """Make `codec` known as `name` in this process; do it where the app is declared, so that every worker does it."""
    if "|" in name:
        raise ImproperlyConfigured(f"codecs.register: {name!r} cannot be a name, '|' separates names in a chain.")
    codecs[name] = codec


def get_codec(serializer: str | Codec, *, allow_pickle: bool = False) -> Codec:
    """The codec, or the chain of codecs, with this name ("json|gzip").

    Raises:
        ImproperlyConfigured: an unknown name, or pickle where it is not allowed. NotOffered: a codec of Faust's only.
    """
    if isinstance(serializer, Codec):
        codec = serializer
    elif isinstance(serializer, str):
        first, *others = [_by_name(name.strip()) for name in serializer.split("|")]
        codec = first if not others else first.clone(*(node for other in others for node in other.nodes))
    else:
        raise ImproperlyConfigured(
            f"serializer={serializer!r}: give a codec's name or a Codec, not {type(serializer)}."
        )
    if not allow_pickle and any(_is_pickle(node) for node in codec.nodes):
        raise ImproperlyConfigured(
            f"serializer={serializer!r}: unpickling runs code that the sender chose, so it is off. Set "
            "allow_pickle=True if every producer of these topics is trusted, or choose 'json'."
        )
    return codec


def _by_name(name: str) -> Codec:
    codec = codecs.get(name)
    if codec is not None:
        return codec
    if name in NOT_OFFERED:
        raise NotOffered(f"the codec {name!r} is not offered: {NOT_OFFERED[name]}.")
    near = difflib.get_close_matches(name, codecs, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ImproperlyConfigured(
        f"there is no codec {name!r}.{hint} Known: {', '.join(sorted(codecs))}; add one with codecs.register."
    )


def dumps_of(node: Codec, unpacked_bytes_max: int) -> Callable[[Any], bytes]:
    """How one codec of a chain writes, within this bound where it packs."""
    if node._functions[0] is pack:
        return lambda value: pack(value, unpacked_bytes_max)
    return node._dumps


def loads_of(node: Codec, unpacked_bytes_max: int) -> Callable[[bytes], Any]:
    """How one codec of a chain reads, within this bound where it unpacks."""
    if node._functions[1] is unpack:
        return lambda data: unpack(data, unpacked_bytes_max)
    return node._loads


def gives_bytes(node: Codec) -> bool:
    """Whether what it dumps is bytes for sure: it is ours."""
    return any(node is one for one in (RAW, JSON, BINARY, GZIP, PICKLE))


def only_bytes(data: Any) -> bytes:
    """What the last codec of a chain dumped. Raises TypeError: nothing that a client or a store could take."""
    if isinstance(data, (bytes, bytearray, memoryview, str)):
        return to_bytes(data)
    raise TypeError(f"its codec made a {type(data).__name__} of it, and must give bytes.")


def are_lossless(nodes: Iterable[Codec]) -> bool:
    """Whether each of these gives back the bytes that it was given."""
    return all(any(node is one for one in (RAW, BINARY, GZIP)) for node in nodes)


def can_load(node: Codec) -> bool:
    """Whether it reads at all: one for outputs only may have no `loads`."""
    return node._functions[1] is not None or type(node)._loads is not Codec._loads


def _is_pickle(node: Codec) -> bool:
    return node._functions[1] is not None and node._functions[1] is PICKLE._functions[1]


def dumps(codec: str | Codec | None, obj: Any) -> bytes:
    """`obj` through the codec; None: bytes and text as they are."""
    return (RAW if codec is None else get_codec(codec, allow_pickle=True)).dumps(obj)


def loads(codec: str | Codec | None, s: bytes, *, allow_pickle: bool = False) -> Any:
    """Bytes back through the codec; None: the bytes as they are."""
    return (RAW if codec is None else get_codec(codec, allow_pickle=allow_pickle)).loads(s)
