"""What hosts and clients send each other's coordinator: on the sockets, between hosts, and on the app's own topics."""

from __future__ import annotations

import contextlib

import msgspec

from streamcluster.ids import Slot, SlotId, TaskId
from streamcluster.outside import Unreadable
from streamcluster.protocol.messages import TaskFigures
from streamcluster.protocol.wire import FrameError, FrameReader, encode_frame
from streamcluster_coordinator.answers.control_socket import decode_request
from streamcluster_coordinator.answers.peer_auth import Handshake, NotAuthentic, Secret, hello, nonce_of_hello
from streamcluster_coordinator.answers.rows import looked_through
from streamcluster_coordinator.answers.rows_local import cursor_of, together
from streamcluster_coordinator.records.report import (
    HostReport,
    HostRows,
    LeaderRequest,
    SlotReport,
    decode_report,
    decode_rows,
    encode_report,
    encode_rows,
)
from streamcluster_coordinator.records.signatures import Signatures
from streamcluster_coordinator.records.snapshot import (
    HostEntry,
    Leader,
    Move,
    Roll,
    Shape,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
)
from streamcluster_coordinator.records.status import Ask, GetRows, GetStatus, RowsAnswer, TaskStatus, WorkerStatus

from .mutating import JSON, MSGPACK
from .rows import Row

SIGNED = Signatures(Secret(b"a secret of all hosts"), "shop")
UNSIGNED = Signatures(None, "shop")
SHAPE = Shape(sources={"orders": 2}, tables={"counts": ("shop-counts-changelog", 2)})
REPORT = HostReport(
    host="b",
    instance="b1",
    pid=7,
    machine="m",
    sequence=12,
    epoch_read=3,
    state="member",
    shape=SHAPE,
    slots=(SlotReport(number=0, ready=True, fenced=True, holds=("2_1",)),),
    rack="r",
    peer="10.0.0.1:7070",
    requests=(LeaderRequest(id="f" * 32, kind="move", target="a/0", task="2_1"),),
    rows=encode_rows(
        HostRows(
            workers=(WorkerStatus(slot=0, pid=9, state="running", tasks=("2_1",), host="b"),),
            tasks=(
                TaskStatus(
                    task="2_1", slot=0, state="running", owner="b/0", figures=TaskFigures(stored=5, lag={"orders": 0})
                ),
                TaskStatus(task="2_0", slot=0, state="standby", figures=TaskFigures(lag={"c": 4})),
            ),
            stored={"2_0": 17},
        )
    ),
)
SNAPSHOT = Snapshot(
    epoch=3,
    term=1,
    leader=Leader(host="a", instance="a1", pid=1, machine="a"),
    cluster_id="cluster",
    topic_id="topic",
    shape=SHAPE,
    hosts={"a": HostEntry(instance="a1", slots=(0,)), "b": HostEntry(instance="b1", slots=(0,), superseded=("b0",))},
    owners={"2_0": "a/0", "2_1": "b/0"},
    revoking={"2_1": 3},
    standbys={"2_0": ("b/0",), "2_1": ("a/0",)},
    lead="a/0",
    drained=("b",),
    pins={"2_0": "a/0"},
    moves=(Move(epoch=3, task="2_1", source="b/0", target="a/0", reason="balance"),),
    answers={"f" * 32: "2 tasks go elsewhere"},
    roll=Roll(number=1, waiting=("b",)),
)
ANSWERS = (
    RowsAnswer(rows=(('"a"', "1"),), after="7fe1:0:2_0,x", source="b/0", lag=3, tasks=("2_0", "2_1")),
    RowsAnswer(error="no", passing=True),
)
NONCE = bytes(range(32))
HANDSHAKE = Handshake(Secret(b"a secret of all hosts"), "shop", "b", NONCE, NONCE)


def request(body: bytes) -> None:
    """As the control socket reads."""
    with contextlib.suppress(Unreadable):
        asked = decode_request(body)
        if isinstance(asked, GetRows):
            cursor_of(asked.after)


def answer(body: bytes) -> None:
    """As a host reads what another one answers, that has the secret and is hostile."""
    reader = FrameReader(msgspec.msgpack.Decoder(RowsAnswer))
    with contextlib.suppress(FrameError):
        for one in reader.feed(len(body).to_bytes(4, "big") + body):
            looked_through(one)
            encode_frame(together([one, one]))


def first_bytes(data: bytes) -> None:
    """A client's hello."""
    with contextlib.suppress(NotAuthentic):
        nonce_of_hello(data)


def sealed(data: bytes) -> None:
    """Frames of a conversation: what is not as it was sealed is never believed."""
    _, opener = HANDSHAKE.channel("server", frame_bytes_max=1 << 20)
    with contextlib.suppress(NotAuthentic):
        for at, frame in enumerate(opener.feed(data)):
            assert frame == FRAMES[at], "a forgery was accepted"


def report(value: bytes) -> None:
    """As a host without a secret reads the status topic."""
    with contextlib.suppress(Unreadable):
        one = decode_report(UNSIGNED.check("report", value)[0])
        decode_rows(one.rows)
        encode_report(one)


def snapshot(value: bytes) -> None:
    """As a host without a secret reads the control topic: what decodes has ids that are ids."""
    with contextlib.suppress(Unreadable):
        one = decode_snapshot(UNSIGNED.check("snapshot", value)[0])
        for task, slot in one.owners.items():
            TaskId.parse(task)
            Slot(SlotId.parse(slot).number)
        encode_snapshot(one)


def signed_report(value: bytes) -> None:
    """As a host with the secret does: nothing but what was signed is believed."""
    with contextlib.suppress(Unreadable):
        content, is_signed = SIGNED.check("report", value)
        assert is_signed, "what is not signed was believed"
        assert content == encode_report(REPORT), "a forgery was accepted"


FRAMES = [encode_frame(GetRows(table="counts")), encode_frame(GetRows(table="counts", key='"a"'))]


def _sealed_frames() -> bytes:
    sealer, _ = HANDSHAKE.channel("client", frame_bytes_max=1 << 20)
    return b"".join(sealer.seal(frame) for frame in FRAMES)


REQUESTS = (
    GetStatus(),
    GetRows(table="counts", key='"a"'),
    GetRows(table="counts", after="7fe1:0:2_0,x", rows_max=7),
    Ask(kind="move", target="a/0", task="2_0"),
    Ask(kind="restart"),
)
ROWS = [
    Row("control-socket", [encode_frame(one)[4:] for one in REQUESTS], MSGPACK, request),
    Row("peer-answers", [encode_frame(one)[4:] for one in ANSWERS], MSGPACK, answer),
    Row("hello", [hello(NONCE)], None, first_bytes),
    Row("sealed-frames", [_sealed_frames()], None, sealed),
    Row("status-report", [encode_report(REPORT)], JSON, report),
    Row("status-report-signed", [SIGNED.sign("report", encode_report(REPORT))], JSON, signed_report),
    Row("control-record", [encode_snapshot(SNAPSHOT)], JSON, snapshot),
]
