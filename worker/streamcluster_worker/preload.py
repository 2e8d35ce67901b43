"""Imported once by the fork server, so that every worker starts with these modules loaded (about 1 ms a fork).

The user's app is imported here too, named by STREAMCLUSTER_APP. An app that does not import is left to the probe
process, which says so with its traceback. No Kafka or RocksDB handle may be made here: they do not survive a fork.
"""

from __future__ import annotations

import contextlib
import gc
import os

from streamcluster.errors import StreamclusterError
from streamcluster.loading import load_app

from . import main  # noqa: F401 (imported for its modules)

reference = os.environ.get("STREAMCLUSTER_APP")
if reference:
    with contextlib.suppress(StreamclusterError):
        load_app(reference)

# What is here stays: a worker's collector need not go through it (35 ms at its start), nor copy its pages.
gc.collect()
gc.freeze()
