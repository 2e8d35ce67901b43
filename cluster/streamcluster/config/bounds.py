"""Between what the numbers of the settings may be."""

from __future__ import annotations

import msgspec

from ..errors import ConfigurationError

# The smallest value that makes sense -> settings.
LEAST: dict[float, tuple[str, ...]] = {
    0: (
        *("connect_timeout", "drain_timeout", "stall_report", "error_backoff", "error_retries", "table_cache_bytes"),
        *("commit_interval", "commit_interval_min", "commit_interval_max", "store_block_cache_bytes"),
        *("standby_replicas", "idle_timeout", "close_idle_after", "max_ahead", "max_out_of_orderness"),
        "watermark_interval",
    ),
    0.001: (
        *("heartbeat_interval", "stall_timeout", "crash_loop_window", "transaction_timeout"),
        *("host_timeout", "host_heartbeat"),
    ),
    0.1: ("repartition_purge_interval",),
    1: (
        *("version", "workers", "topic_partitions", "topic_replication_factor", "topic_min_insync_replicas"),
        *("commit_events_max", "consumer_batch_records_max", "stream_buffer_records_max", "outbox_records_max"),
        *("producer_flush_records", "consumer_prefetch_bytes", "store_write_buffer_bytes", "crash_loop_deaths"),
        *("standby_lag_max", "standby_warmups_max", "stream_buffer_bytes_max", "codec_unpacked_bytes_max"),
        "outbox_bytes_max",
    ),
    # A record has a key, a value, headers, and a batch around it.
    1024: ("producer_max_request_size",),
    # Below, a worker has no room for anything but itself; 1 GiB written as 1024 is found by it too.
    64 * 1024 * 1024: ("worker_memory",),
}

# The largest value that any machine could do something with -> settings; all other numbers end before JSON's do.
MOST: dict[float, tuple[str, ...]] = {1_000: ("workers",), 1_000_000: ("topic_partitions",)}
NUMBER_MAX = 2**53


def bounds_of(name: str) -> tuple[float | None, float]:
    """The least and the most that setting `name` may be; None: it has no least, for it is no number."""
    least = next((least for least, names in LEAST.items() if name in names), None)
    return least, next((most for most, names in MOST.items() if name in names), NUMBER_MAX)


def check_numbers(settings: msgspec.Struct, source: str) -> None:
    """Refuse numbers beyond their bounds. Raises ConfigurationError."""
    for name in settings.__struct_fields__:
        (least, most), value = bounds_of(name), getattr(settings, name)
        if least is None or value is None or least <= value <= most:
            continue
        # A number of thousands of digits has no text.
        shown = f"{name}={value}" if -NUMBER_MAX <= value <= NUMBER_MAX or value != value else name
        bound = f"at most {most:,}" if value > most else f"at least {least}"
        raise ConfigurationError(f"{source}: {shown} must be {bound}.")
