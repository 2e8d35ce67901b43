"""Windows: tables whose entries are of a key and a span of event time.

    app.Table(...).tumbling(60) --> WindowedTable --> a table with keys (key, start, end), and an index by end
                                                      --- T passes the end ---> on_close, and the row is gone

`kinds`: which windows an event is in, as values; `keys`: the rows' keys; `windowed`: what users have in hand.
"""

from __future__ import annotations

from functools import partial

from ..faust_names import WINDOWS, missing
from .faust_windows import HoppingWindow, TumblingWindow

__all__ = ["HoppingWindow", "TumblingWindow"]

globals()["__getattr__"] = partial(missing, known=WINDOWS, owner="streamcluster.windows")
