"""Records that no honest producer writes: what anybody who may write to a topic can put there.

By the client's own library, through ctypes, where the Python client refuses: it takes only text as a header's name.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from pathlib import Path

import confluent_kafka
from confluent_kafka import KafkaError, Message, Producer

_DELIVERY_SECONDS = 60.0
_OK = 0
_PRODUCER = 0
_ERROR_BYTES = 512
# For rd_kafka_producev, of librdkafka's `rd_kafka_vtype_t`.
_END, _TOPIC, _PARTITION, _VALUE, _KEY, _HEADERS = 0, 1, 3, 4, 5, 10
# More than the client unpacks (its receive.message.max.bytes), in a few kB on the wire.
UNPACKED_BYTES = 150 << 20


def send_with_headers(
    bootstrap: str, topic: str, partition: int, value: bytes, headers: Iterable[tuple[bytes, bytes]], key: bytes = b"k"
) -> None:
    """Send one record whose headers' names are any bytes."""
    library = _library()
    pairs = list(headers)
    producer = _open(
        library, {"bootstrap.servers": bootstrap, "message.max.bytes": "10000000", "compression.type": "lz4"}
    )
    try:
        kept = library.rd_kafka_headers_new(len(pairs))
        for name, data in pairs:
            error = library.rd_kafka_header_add(kept, name, len(name), data, len(data))
            assert error == _OK, f"header {name!r}: error {error}"
        error = library.rd_kafka_producev(
            ctypes.c_void_p(producer),
            *(ctypes.c_int(_TOPIC), ctypes.c_char_p(topic.encode())),
            *(ctypes.c_int(_PARTITION), ctypes.c_int32(partition)),
            *(ctypes.c_int(_KEY), ctypes.c_char_p(key), ctypes.c_size_t(len(key))),
            *(ctypes.c_int(_VALUE), ctypes.c_char_p(value), ctypes.c_size_t(len(value))),
            *(ctypes.c_int(_HEADERS), ctypes.c_void_p(kept)),
            ctypes.c_int(_END),
        )
        assert error == _OK, f"producing to {topic}: error {error}"
        error = library.rd_kafka_flush(producer, int(_DELIVERY_SECONDS * 1000))
        assert error == _OK, f"{topic}: not delivered, error {error}"
    finally:
        library.rd_kafka_destroy(producer)


def send_unpackable(bootstrap: str, topic: str, partition: int, records: int = 1) -> int:
    """Send one batch that unpacks to more than the client takes; returns the offset of its first record."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "zstd",
            "message.max.bytes": 1_000_000_000,
            "batch.size": 1_000_000_000,
            "queue.buffering.max.kbytes": 2_000_000,
            # Copying the values may take seconds: the flush ends the batch, no time does.
            "linger.ms": 100_000,
        }
    )
    offsets: list[int | None] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        offsets.append(message.offset())

    value = b"0" * (UNPACKED_BYTES // records)
    for _ in range(records):
        producer.produce(topic, value, b"k", partition, on_delivery=delivered)
    assert producer.flush(_DELIVERY_SECONDS) == 0, "it was not delivered"
    found = [offset for offset in offsets if offset is not None]
    assert found == list(range(found[0], found[0] + records)), f"not in one batch: {found}"
    return found[0]


def _library() -> ctypes.CDLL:
    """The library of the installed client, as it is loaded already."""
    (path,) = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka-*.so*")
    library = ctypes.CDLL(str(path))
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    library.rd_kafka_conf_new.restype = pointer
    library.rd_kafka_conf_set.argtypes = [pointer, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, size]
    library.rd_kafka_new.restype = pointer
    library.rd_kafka_new.argtypes = [ctypes.c_int, pointer, ctypes.c_char_p, size]
    library.rd_kafka_headers_new.restype = pointer
    library.rd_kafka_headers_new.argtypes = [size]
    library.rd_kafka_header_add.argtypes = [pointer, ctypes.c_char_p, ctypes.c_ssize_t, ctypes.c_char_p, size]
    library.rd_kafka_flush.argtypes = [pointer, ctypes.c_int]
    library.rd_kafka_destroy.argtypes = [pointer]
    return library


def _open(library: ctypes.CDLL, config: dict[str, str]) -> int:
    why = ctypes.create_string_buffer(_ERROR_BYTES)
    conf = library.rd_kafka_conf_new()
    for name, value in config.items():
        assert library.rd_kafka_conf_set(conf, name.encode(), value.encode(), why, _ERROR_BYTES) == _OK, why.value
    producer = library.rd_kafka_new(_PRODUCER, conf, why, _ERROR_BYTES)
    assert producer, why.value
    return int(producer)
