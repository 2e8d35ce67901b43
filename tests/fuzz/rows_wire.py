"""Frames between a coordinator and its workers, both ways."""

from __future__ import annotations

import contextlib

import msgspec

from streamcluster.ids import TaskId
from streamcluster.protocol.messages import (
    Failed,
    Follow,
    Following,
    Grant,
    Lead,
    ReadTable,
    Ready,
    Released,
    Report,
    Revoke,
    Rows,
    Stored,
    TaskFigures,
    TaskReport,
    ToCoordinator,
    ToWorker,
)
from streamcluster.protocol.wire import FrameError, FrameReader, encode_frame

from .mutating import MSGPACK
from .rows import Row

TASKS = (TaskId(2, 0), TaskId(2, 1))
TO_WORKER = (
    Grant(epoch=3, tasks=TASKS, session=2),
    Revoke(epoch=4, tasks=TASKS),
    Follow(epoch=4, tasks=TASKS),
    Lead(epoch=4, leader=True),
    ReadTable(request=1, table="counts", key='"a"', after="0:2_0,5"),
)
TO_COORDINATOR = (
    Ready(slot=0, pid=77, session=1),
    Following(epoch=4, tasks=TASKS),
    Stored(positions={"2_0": 17}),
    Released(epoch=4, tasks=TASKS),
    Report(
        slot=0,
        tasks=(
            TaskReport(task=TASKS[0], state="running", figures=TaskFigures(positions={"orders": 3}, lag={"orders": 0})),
        ),
    ),
    Rows(request=1, rows=(('"a"', "1"),), after="0:2_0,5", lag=3),
    Failed(exit_code=78, text="no", traceback="Traceback"),
)


def to_worker(body: bytes) -> None:
    """As a worker reads."""
    reader: FrameReader[ToWorker] = FrameReader(msgspec.msgpack.Decoder(ToWorker))
    _read(reader, body)


def to_coordinator(body: bytes) -> None:
    """As a coordinator reads."""
    reader: FrameReader[ToCoordinator] = FrameReader(msgspec.msgpack.Decoder(ToCoordinator))
    _read(reader, body)


def _read(reader: FrameReader[ToWorker] | FrameReader[ToCoordinator], body: bytes) -> None:
    with contextlib.suppress(FrameError):
        list(reader.feed(len(body).to_bytes(4, "big") + body))


def _bodies(messages: tuple[msgspec.Struct, ...]) -> list[bytes]:
    return [encode_frame(message)[4:] for message in messages]


ROWS = [
    Row("wire-to-worker", _bodies(TO_WORKER), MSGPACK, to_worker),
    Row("wire-to-coordinator", _bodies(TO_COORDINATOR), MSGPACK, to_coordinator),
]
