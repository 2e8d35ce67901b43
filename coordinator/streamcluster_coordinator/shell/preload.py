"""The first thing that the fork server imports: what is sent to whole groups of processes passes it and its workers by.

A terminal's Ctrl-C and hang-up or systemd's SIGTERM reach every process; the coordinator alone decides what they mean
and tells the workers by message. A fork server that died of one would take all workers along. With it die the workers,
and with them whatever users' code has started and not ended.
"""

from __future__ import annotations

import atexit
import os
import signal

from .entry import GROUP_SIGNALS, end_groups, pass_over

for number in GROUP_SIGNALS:
    # Not SIG_IGN: programs that users' code starts would inherit that, and not end when they are told to.
    signal.signal(number, pass_over)
# A group of its own: whoever kills the coordinator's leaves it the time to end what it has started.
os.setpgid(0, 0)
atexit.register(end_groups, os.getpid())
# The fork server was started with them blocked, so that none came before this.
signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)
