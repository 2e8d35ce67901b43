"""Runs a command of the CLI in this process, and breaks something in it when a named pipe says so.

    python break_inside.py WISH python -m streamcluster start ...

WISH: the pipe. What is written to it is "thread NAME" (that thread ends without a word, as by sys.exit) or "loop"
(a callback of the running event loop raises).
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import runpy
import sys
import threading
from pathlib import Path


def main() -> None:
    """Start the one who breaks, and then be the command."""
    wish, _, _, module, *arguments = sys.argv[1:]
    threading.Thread(target=_wait, args=(Path(wish),), daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _wait(wish: Path) -> None:
    match wish.read_text().split():
        case ["thread", name]:
            [thread] = [one for one in threading.enumerate() if one.name == name]
            assert thread.ident is not None
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
        case ["loop"]:
            loops = [one for one in gc.get_objects() if isinstance(one, asyncio.BaseEventLoop) and one.is_running()]
            loops[0].call_soon_threadsafe(_raise)
        case other:
            raise AssertionError(other)


def _raise() -> None:
    raise LookupError("a callback that nobody foresaw")


if __name__ == "__main__":
    main()
