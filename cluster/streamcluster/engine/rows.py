"""RowCoder: between the entries of one table and the rows of its changelog, with the table's name in every error.

What is the same key is what has the same bytes, in memory too: Python takes 1, 1.0 and True for one, and one moment in
two time zones. So memory has keys of the commonest types as they are, which never equal one of another type, and all
others by their bytes. Windows are the exception: memory has nothing but the bytes of their rows' keys, since there are
so many that what they take, and what is done to write and delete them, counts more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

from ..batch import Column
from ..codecs.coding import explain
from ..codecs.table_coding import KeyPart, as_json
from ..errors import UndecodableRow, UnencodableEntry
from ..tables import SIMPLE_KEYS

Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]
# A key as memory has it: one of a simple type, or a tuple of such; else (None, its bytes). Of windows its bytes.
Identity = Any
# Row key -> row; None: it is deleted.
Changes = dict[bytes, bytes | None]


class _Deleted:
    __slots__ = ()


# What is written of a key that is deleted.
DELETED = _Deleted()


def is_coded(identity: Identity) -> bool:
    """Whether it is (None, the key's bytes): no tuple of simple types has None in it."""
    return type(identity) is tuple and bool(identity) and identity[0] is None


class RowCoder:
    """The coders of one table.

    migrates: rows may be read as something that was not written like that. decode_keys: many at once; None: one by one.
    part: of a table of windows, how a key is written without its window; None: it has none. keys_as_json,
    values_as_json: those of these types are written as JSON has them.
    """

    __slots__ = (
        "_decode_key",
        "_decode_keys",
        "_last_identity",
        "_last_key",
        "decode_value",
        "encode",
        "encode_key",
        "keys_as_json",
        "migrates",
        "name",
        "part",
        "values_as_json",
    )

    def __init__(
        self,
        name: str,
        key: tuple[Encode, Decode],
        value: tuple[Encode, Decode],
        *,
        migrates: bool = False,
        decode_keys: Callable[[Iterable[bytes]], list[Any]] | None = None,
        part: KeyPart | None = None,
        keys_as_json: frozenset[type] = frozenset(),
        values_as_json: frozenset[type] = frozenset(),
    ) -> None:
        self.name = name
        self.keys_as_json = keys_as_json
        self.values_as_json = values_as_json
        # Functions of the coders themselves: a commit calls them for each entry. They raise anything.
        self.encode_key, self._decode_key = key
        self._decode_keys = decode_keys
        self.part = part
        self.encode, self.decode_value = value
        self.migrates = migrates
        # `table[key] += 1` asks twice for the same object. No key is this list.
        self._last_key: Any = []
        self._last_identity: Identity = None

    # Keys

    def identity(self, key: Any) -> Identity:
        """The key as memory has it.

        Raises:
            TypeError: it is not hashable. UnencodableEntry: it would not come back as it is.
        """
        if self.part is not None:
            hash(key)
            return self._key_bytes(key)
        if type(key) in SIMPLE_KEYS:
            return key
        if key is self._last_key:
            return self._last_identity
        if type(key) is tuple and SIMPLE_KEYS.issuperset(map(type, key)):
            identity: Identity = key
        else:
            hash(key)
            identity = None, self._key_bytes(key)
        self._last_key, self._last_identity = key, identity
        return identity

    def identity_of_row(self, data: bytes) -> Identity:
        """That of a row's key. Raises UndecodableRow."""
        return data if self.part is not None else self.identity(self.decode_key(data))

    def read_keys(self, rows: Column[bytes]) -> tuple[Sequence[Any], Sequence[Identity]]:
        """The keys of rows, and their identities. Raises UndecodableRow."""
        keys = self.decode_keys(rows)
        return keys, [*rows] if self.part is not None else list(map(self.identity, keys))

    def read_identities(self, rows: Column[bytes], known: Container[Identity]) -> Sequence[Identity]:
        """The identities of rows alone. known: those of keys that were read or written. Raises UndecodableRow."""
        if self.part is not None and all(map(known.__contains__, rows)):
            return [*rows]
        return self.read_keys(rows)[1]

    def key_bytes(self, identity: Identity) -> bytes:
        """The row's key. Raises UnencodableEntry: it would not come back as it is."""
        if is_coded(identity):
            data: bytes = identity[1]
            return data
        if type(identity) is bytes and self.part is not None:
            return identity
        return self._key_bytes(identity)

    def _key_bytes(self, key: Any) -> bytes:
        try:
            return self.encode_key(key)
        except Exception as error:
            raise UnencodableEntry(self.name, key, error) from error

    def key_of(self, identity: Identity) -> Any:
        """The key as users have it."""
        if is_coded(identity):
            return self.decode_key(identity[1])
        return self.decode_key(identity) if self.part is not None and type(identity) is bytes else identity

    def decode_key(self, data: bytes) -> Any:
        """The key of a row. Raises UndecodableRow."""
        try:
            return self._decode_key(data)
        except Exception as error:
            raise UndecodableRow(self.name, f"of {len(data)} bytes", explain(error, data)) from error

    def decode_keys(self, rows: Iterable[bytes]) -> list[Any]:
        """The keys of many rows. Raises UndecodableRow."""
        try:
            return list(map(self.decode_key, rows)) if self._decode_keys is None else self._decode_keys(rows)
        except Exception:  # noqa: BLE001 (codecs are user code; the one that it is will be told by itself)
            return list(map(self.decode_key, rows))

    def row_keys(self, identities: Sequence[Identity]) -> list[bytes]:
        """The rows' keys, as `key_bytes`. Raises what the codec raises."""
        if self.keys_as_json.issuperset(map(type, identities)):
            return as_json(identities)
        encode, are_bytes = self.encode_key, self.part is not None
        return [
            key
            if are_bytes and type(key) is bytes
            else (key[1] if type(key) is tuple and is_coded(key) else encode(key))
            for key in identities
        ]

    # Rows

    def rows_of(self, entries: Mapping[Identity, Any]) -> Changes:
        """The rows of entries that were written. Raises what the codecs raise."""
        values = entries.values()
        if self.values_as_json.issuperset(map(type, values)):
            encoded: list[bytes | None] = [*as_json([*values])]
        else:
            encode = self.encode
            encoded = [None if value is DELETED else encode(value) for value in values]
        return dict(zip(self.row_keys([*entries]), encoded, strict=True))

    # Values

    def encode_of(self, identity: Identity, value: Any) -> bytes:
        """The row's value. Raises UnencodableEntry: it would not come back as it is."""
        try:
            return self.encode(value)
        except Exception as error:
            raise UnencodableEntry(self.name, self.key_of(identity), error, value) from error

    def decode(self, data: bytes, encoded: bytes) -> Any:
        """The value of the row with these bytes. Raises UndecodableRow: it is not what the table holds now."""
        try:
            return self.decode_value(encoded)
        except Exception as error:
            raise UndecodableRow(self.name, repr(self.decode_key(data)), explain(error, encoded)) from error
