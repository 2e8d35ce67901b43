"""Becomes the command that it is given, once the kernel has promised to kill it when our parent dies.

Run as a script in the broker's place: `launch.py PARENT_PID COMMAND...`. Imports nothing of this package.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before the promise was made; then nobody would ever end us.
        if os.getppid() != int(sys.argv[1]):
            sys.exit("The process that started this broker is gone.")
    os.execv(sys.argv[2], sys.argv[2:])
