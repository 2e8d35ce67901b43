"""How a worker's memory is split: always within what there is, settings are obeyed, and what does not fit is said."""

from __future__ import annotations

import pytest

from streamcluster.errors import ConfigurationError
from streamcluster.kafka.config import (
    changelog_consumer_config,
    consumer_config,
    follower_config,
    producer_config,
)
from streamcluster.memory import (
    MIB,
    POOL_BYTES_LEAST,
    SLACK_PART,
    WORKER_BYTES_DEFAULT,
    WORKER_BYTES_LEAST,
    Shares,
    shares_of,
    too_small,
    worker_memory,
)
from streamcluster.settings import Settings, make_settings


def settings_of(**values: object) -> Settings:
    """An app's."""
    return make_settings({"id": "shop", **values})


def total(shares: Shares) -> int:
    """What all parts come to, with what is fetched counted twice, as it may be there twice."""
    fixed = shares.process + 2 * shares.prefetch + shares.producer_queue + shares.block_cache + shares.write_buffers
    return fixed + shares.pool + shares.worker // SLACK_PART


@pytest.mark.parametrize("worker", [160, 200, 256, 384, 1000, 4000, 100_000])
@pytest.mark.parametrize("process", [45, 64, 100])
@pytest.mark.parametrize("has_stores", [False, True])
def test_the_parts_are_within_the_whole(worker: int, process: int, *, has_stores: bool) -> None:
    """Of any size above the least; without RocksDB the pool gets its part."""
    shares = shares_of(settings_of(worker_memory=worker * MIB), process * MIB, has_stores=has_stores)
    if shares.pool > POOL_BYTES_LEAST:
        assert total(shares) <= shares.worker
        assert too_small(shares) is None
    assert has_stores == bool(shares.block_cache)


def test_settings_are_obeyed_and_the_pool_gets_the_rest() -> None:
    """Each part by its name."""
    shares = shares_of(
        settings_of(
            worker_memory=1000 * MIB,
            table_cache_bytes=300 * MIB,
            consumer_prefetch_bytes=10 * MIB,
            store_block_cache_bytes=0,
            stream_buffer_bytes_max=50 * MIB,
        ),
        60 * MIB,
    )
    assert (shares.table_cache, shares.records, shares.outbox) == (300 * MIB, 50 * MIB, None)
    assert (shares.prefetch, shares.block_cache) == (10 * MIB, 0)
    assert total(shares) + 350 * MIB <= 1000 * MIB


def test_what_does_not_fit_is_said_with_what_to_set() -> None:
    """And what is proposed does fit."""
    text = too_small(shares_of(settings_of(worker_memory=100 * MIB), 90 * MIB))
    assert text is not None
    proposed = int(text.partition("worker_memory=")[2].split()[0])
    assert too_small(shares_of(settings_of(worker_memory=proposed), 90 * MIB)) is None
    asked = settings_of(worker_memory=200 * MIB, table_cache_bytes=500 * MIB)
    assert "by its settings" in str(too_small(shares_of(asked, 60 * MIB)))


def test_a_worker_gets_a_share_of_a_small_machine_and_no_more_than_the_default_of_a_large_one() -> None:
    """Divided by the workers of the host, less what the coordinator has."""
    plain = settings_of()
    assert worker_memory(plain, 8, 64_000 * MIB, "this machine").bytes_max == WORKER_BYTES_DEFAULT
    for workers, limit in [(1, 400), (2, 512), (4, 1024), (8, 2048)]:
        memory = worker_memory(plain, workers, limit * MIB, "/sys/fs/cgroup/memory.max")
        assert workers * memory.bytes_max < limit * MIB
        assert f"{workers} workers" in memory.source
        assert "/sys/fs/cgroup/memory.max" in memory.source
    least = worker_memory(plain, 8, 512 * MIB, "/sys/fs/cgroup/memory.max")
    assert least.bytes_max == WORKER_BYTES_LEAST
    assert "start fewer workers" in least.source


def test_the_setting_beats_what_there_is_and_too_much_is_said() -> None:
    """It is the operator's word; the kernel may have another one."""
    asked = settings_of(worker_memory=2000 * MIB)
    assert worker_memory(asked, 1, 4000 * MIB, "this machine").source == "worker_memory"
    beyond = worker_memory(asked, 4, 4000 * MIB, "this machine")
    assert beyond.bytes_max == 2000 * MIB
    assert "the kernel may kill one" in beyond.source
    with pytest.raises(ConfigurationError, match="worker_memory=512 must be at least 67108864"):
        settings_of(worker_memory=512)


def number(value: object) -> int:
    """An option of librdkafka's that is one."""
    assert isinstance(value, int)
    return value


@pytest.mark.parametrize("worker", [128, 384, 4000])
def test_the_clients_queues_are_within_their_share(worker: int) -> None:
    """A source, a restore and a follower, with a fetch on top of what waits, and records counted too."""
    settings = settings_of(worker_memory=worker * MIB)
    share = shares_of(settings).prefetch
    for config, part in ((consumer_config, 1), (changelog_consumer_config, 2), (follower_config, 4)):
        found = config(settings)
        queue, fetch = number(found["queued.max.messages.kbytes"]) * 1024, number(found["fetch.max.bytes"])
        assert queue <= max(MIB, share // part)
        assert fetch <= max(MIB, share // part // 8)
        assert number(found["queued.min.messages"]) * 450 <= max(MIB, share // part)
    assert number(producer_config(settings, None)["queue.buffering.max.kbytes"]) <= 2 * max(64 * MIB, share) // 1024


def test_a_larger_message_size_of_the_options_is_no_conflict() -> None:
    """librdkafka refuses fetch.max.bytes below message.max.bytes, when both are set."""
    config = consumer_config(settings_of(broker_options={"message.max.bytes": 20_000_000}))
    assert number(config["fetch.max.bytes"]) >= 20_000_000
