"""The first thing that the fork server imports: it, and the workers that it forks, ignore what is sent to whole groups.

A terminal's Ctrl-C and hang-up or systemd's SIGTERM reach every process; the coordinator alone decides what they mean
and tells the workers by message. A fork server that died of one would take all workers along.
"""

from __future__ import annotations

import signal

from .fleet_process import GROUP_SIGNALS

for number in GROUP_SIGNALS:
    signal.signal(number, signal.SIG_IGN)
# The fork server was started with them blocked, so that none came before this.
signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)
