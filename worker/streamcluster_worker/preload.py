"""Imported once by the fork server, so that every worker starts with these modules loaded (about 1 ms a fork).

The user's app is imported here too, named by STREAMCLUSTER_APP. An app that does not import is left to the probe
process, which says so with its traceback. No Kafka or RocksDB handle may be made here: they do not survive a fork.

    import the app -> nothing was opened that workers would share -> it stays
                   -> something was (at_import.py) -> start anew as the same process, and leave the import to workers
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys

from streamcluster.config.loading import load_app
from streamcluster.errors import StreamclusterError

from . import main  # noqa: F401 (imported for its modules)
from .user.app_import import APP_IMPORT
from .user.at_import import Opened, end_children, in_one_line, only_listens, opened_now, shared_since
from .user.children import PASSED_SIGNALS
from .user.randomness import GENERATORS

# Tells the fork server that starts anew what was opened; gone from the environment before there are workers.
_SHARED = "_STREAMCLUSTER_SHARED"


def preload(reference: str) -> None:
    """Import the app, unless that opens what must not be shared."""
    before, environment, directory = opened_now(), dict(os.environ), os.getcwd()
    with contextlib.suppress(StreamclusterError), GENERATORS.noticed():
        load_app(reference)
    words, new = shared_since(before)
    if not words:
        return
    if only_listens(new):
        APP_IMPORT.only_listens(in_one_line(words))
    else:
        _start_anew(new, {**environment, _SHARED: in_one_line(words)}, directory)


def _start_anew(new: Opened, environment: dict[str, str], directory: str) -> None:
    """Be a fresh fork server, with the same number and the descriptors that multiprocessing handed over."""
    for descriptor in new.descriptors:
        os.set_inheritable(descriptor, False)
    os.chdir(directory)
    sys.stdout.flush()
    sys.stderr.flush()
    # Until the handlers are there again (shell/preload.py).
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_SIGNALS)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


if (shared := os.environ.pop(_SHARED, None)) is not None:
    APP_IMPORT.opens_shared(shared)
    # What the import started, each worker starts for itself.
    end_children()
elif (app := os.environ.get("STREAMCLUSTER_APP")) is not None:
    preload(app)

# What is here stays: a worker's collector need not go through it (35 ms at its start), nor copy its pages.
gc.collect()
gc.freeze()
