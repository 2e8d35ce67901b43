"""The first thing that the fork server imports: it, and the workers that it forks, ignore what is sent to whole groups.

A terminal's hang-up or systemd's SIGTERM reaches every process; the coordinator alone decides what it means and tells
the workers by message. A fork server that died of it would take all workers along.
"""

from __future__ import annotations

import signal

for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU):
    signal.signal(number, signal.SIG_IGN)
