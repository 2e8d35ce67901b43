"""What all stores of a process share, and the options that RocksDB gets for each.

It decides memory, logs and files of a database; it knows no table and no commit.
"""

from __future__ import annotations

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    WriteBufferManager,
)

# Measured (2 cores, 25,000 keys of 60 bytes rewritten 40 times): a small memtable makes a get 1.2 us where 16 MB
# makes it 2.3 us, and writes no dearer (1.3 us a key), because the skip list stays in the processor's cache.
_MEMTABLE_BYTES = 4 * 1024 * 1024
# A filter over each memtable: what memory lacks was not written lately, so nearly every read passes the memtables in
# vain. This part of a memtable is 11 bits a key, and with it a read of a row that is not there takes 1.8 us in place of
# 2.5 to 3.5, one of several together 0.9 in place of 1.7 (two tasks of 700,000 keys).
_MEMTABLE_FILTER = 0.02
# What an open after a crash has to replay at most. Every write touches the offsets' column family, which is too small
# to be flushed by itself and so would keep logs of 32 MB alive; past this bound RocksDB flushes it.
_LOG_BYTES = 2 * _MEMTABLE_BYTES
# Of RocksDB's own log, which has some kB for each file that is written, for ever: 0.6 MB an hour with 20 tables and a
# commit a second. When it is full a new one begins, with the options of each family again: they have to fit many times.
_OWN_LOG_BYTES = 4 * 1024 * 1024


class Memory:
    """What all stores of one process share: one block cache, one budget of write buffers (invariant I7)."""

    def __init__(self, block_cache_bytes: int, write_buffer_bytes: int, open_files_max: int = -1) -> None:
        """open_files_max: of each store; -1: as many as it likes."""
        self._open_files_max = open_files_max
        # Not RocksDB's LRU: it is split into shards of at least 512 KiB, and what is larger than one is read from the
        # file again at each use. The filter of a file is, from 430,000 rows on: a get cost 70 us then, and 390 us at
        # 1.5 million rows, where this one takes 8 to 10 us. 0: it measures for itself what an entry takes. (It needs a
        # byte at least: RocksDB dies of none.)
        self._cache = Cache.new_hyper_clock_cache(max(1, block_cache_bytes), 0)
        # No stalls: past its budget the manager makes databases flush, and writes never wait for one another.
        self._buffers = WriteBufferManager(write_buffer_bytes, False)

    def options(self) -> Options:
        """Options for a database and for each of its column families."""
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.create_missing_column_families(True)
        options.set_max_open_files(self._open_files_max)
        # With the default, 64 parts of the cache keep one file each whatever the maximum is.
        options.set_table_cache_num_shard_bits(1)
        options.set_write_buffer_size(_MEMTABLE_BYTES)
        options.set_write_buffer_manager(self._buffers)
        options.set_memtable_prefix_bloom_ratio(_MEMTABLE_FILTER)
        options.set_memtable_whole_key_filtering(True)
        options.set_max_total_wal_size(_LOG_BYTES)
        # Nothing in a log is left out in silence; what a crash tore off is cut before (`mend_logs`).
        options.set_wal_recovery_mode(DBRecoveryMode.absolute_consistency())
        options.set_compression_type(DBCompressionType.lz4())
        # RocksDB's own log and statistics files are of no use to anyone here.
        options.set_keep_log_file_num(1)
        options.set_max_log_file_size(_OWN_LOG_BYTES)
        options.set_stats_dump_period_sec(0)
        blocks = BlockBasedOptions()
        blocks.set_block_cache(self._cache)
        blocks.set_cache_index_and_filter_blocks(True)
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
        blocks.set_bloom_filter(10, False)
        options.set_block_based_table_factory(blocks)
        return options
