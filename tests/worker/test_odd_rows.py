"""Rows that nobody expects, and keys of all types: each is shown, by page and by key, and none costs the page."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamcluster.codecs import Codec
from streamcluster.codecs.table_coding import make_table_coder
from streamcluster.protocol.messages import READ_SECONDS, UNREADABLE, Rows
from streamcluster.shown import ESCAPED
from streamcluster.stores import MemoryStore
from streamcluster_worker.answers.queries import QUESTIONS_MAX, ROWS_BYTES_MAX
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore
from tests.worker.test_queries import MIB, TASKS, Asker, asking

GOOD = {b'"ann"': b"1", b'"zoe"': b"2"}


def answers(rows: dict[bytes, bytes], questions: list[dict[str, Any]], **table: Any) -> list[Rows]:
    """What is answered of a table that has these rows."""
    stores = {task: MemoryStore(["seen"]) for task in TASKS}
    stores[TASKS[0]].write({"seen": dict(rows)}, {"seen": 1})
    found: list[Rows] = []

    async def ask(asker: Asker) -> None:
        for question in questions:
            found.append(await asker.ask(**question))

    asking(stores, ask, **table)
    return found


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"{", "DecodeError"),
        (b"[" * 5_000 + b"]" * 5_000, "RecursionError"),
        (b'"\xff"', "UnicodeDecodeError"),
        (b"1e400", "ValidationError"),
        (b"1" * 2_000_000, "at most"),
    ],
)
def test_a_row_that_does_not_decode_is_shown_with_its_key_and_why(value: bytes, why: str) -> None:
    """It costs the others nothing, by page and by key."""
    page, one = answers({**GOOD, b'"bad"': value}, [{}, {"key": '"bad"'}])
    assert page.error is None
    assert [row for row in page.rows if not row[1].startswith(UNREADABLE)] == [('"ann"', "1"), ('"zoe"', "2")]
    [(key, reason)] = [row for row in page.rows if row[1].startswith(UNREADABLE)]
    assert key == '"bad"'
    assert why in reason
    assert one.rows == ((key, reason),)


class Unsayable(Exception):
    """An error that cannot be shown itself."""

    def __str__(self) -> str:
        """As careless as user code."""
        raise RuntimeError("no")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), Unsayable()])
def test_codec_that_wants_to_end_the_process_costs_its_row(error: BaseException) -> None:
    """Codecs are user code, and reading a table is nobody's reason to stop."""

    def loads(data: bytes) -> str:
        if data == b"bad":
            raise error
        return data.decode()

    codec = Codec(dumps=str.encode, loads=loads)
    [page, one] = answers({b'"bad"': b"bad", b'"ok"': b"fine"}, [{}, {"key": '"bad"'}], value_serializer=codec)
    assert ('"ok"', '"fine"') in page.rows
    [(_, reason)] = [row for row in page.rows if row[0] == '"bad"']
    assert reason.startswith(f"{UNREADABLE}{type(error).__name__}")
    assert one.rows == (('"bad"', reason),)


@pytest.mark.parametrize("key", [b"{", b"\xff\xfe", b"[" * 5_000, b"\x1f\x8b\x08\x00short"])
def test_a_key_that_does_not_decode_is_shown(key: bytes) -> None:
    """As its bytes, cut where they are many, and the error is named."""
    [page] = answers({**GOOD, key: b"1"}, [{}])
    [(shown, reason)] = [row for row in page.rows if row[1].startswith(UNREADABLE)]
    assert reason.startswith(f"{UNREADABLE}the key: ")
    assert json.loads(shown) == key[:200].decode(errors="backslashreplace")
    assert len(page.rows) == 3


@pytest.mark.parametrize(
    "data",
    [gzip.compress(b"7", mtime=0)[:-5], b"\x1f\x8b\x08\x00short", gzip.compress(b"7", mtime=0)[:-8] + b"12345678"],
)
def test_bad_gzip_is_a_row_with_its_error(data: bytes) -> None:
    """EOFError, BadGzipFile and zlib.error are nothing else than a wrong JSON text."""
    [page] = answers({b'"bad"': data, b'"ok"': gzip.compress(b"7", mtime=0)}, [{}], value_serializer="json|gzip")
    assert [(key, value[:1]) for key, value in page.rows] == [('"bad"', UNREADABLE), ('"ok"', "7")]


def test_integers_of_any_size_are_shown() -> None:
    """What a table takes, a page shows: `+=` makes them, and JSON has a word for them."""
    [page] = answers({b'"wei"': b"%d" % 2**200, b'"list"': b"[%d]" % 2**70}, [{}])
    assert dict(page.rows) == {'"wei"': str(2**200), '"list"': f"[{2**70}]"}


def test_bytes_are_shown_as_text_and_escapes() -> None:
    """Values that are no UTF-8."""
    [page] = answers({b'"a"': b"abc\xff", b'"b"': b"plain"}, [{}], value_type=bytes)
    assert dict(page.rows) == {'"a"': ESCAPED + '"abc\\\\xff"', '"b"': '"plain"'}


@pytest.mark.parametrize(
    ("key", "text", "options"),
    [
        (b"abc", '"abc"', {"key_type": bytes}),
        (b"\x00\x1b\x85\xff", json.dumps("\x00\x1b\\x85\\xff"), {"key_type": bytes}),
        (b"a\\x41", json.dumps("a\\x41"), {"key_type": bytes}),
        ("ann", '"ann"', {"key_type": str, "key_serializer": "raw"}),
        (b"ann", '"ann"', {"key_serializer": "raw"}),
        ("ann", '"ann"', {"key_type": str, "key_serializer": "binary"}),
        ("ann", '"ann"', {"key_serializer": "json|gzip"}),
        (5, "5", {"key_type": int}),
        (5, "5", {"key_type": int, "key_serializer": "raw"}),
        (5.0, "5", {"key_type": float}),
        (("a", 5), '["a",5]', {}),
        (("a", 5), '["a", 5]', {"key_type": tuple[str, int]}),
        (2**70, str(2**70), {}),
    ],
)
def test_a_key_is_found_whatever_its_type_and_serializer(key: Any, text: str, options: dict[str, Any]) -> None:
    """The JSON text of a key becomes the bytes that the table has written; and the page shows a text that finds it."""
    encode, _ = make_table_coder(
        options.get("key_type"), options.get("key_serializer"), allow_pickle=False, is_key=True
    )
    rows = {encode(key): b"7"}
    page, one = answers(rows, [{}, {"key": text}], **options)
    assert [value for _, value in one.rows] == ["7"]
    [again] = answers(rows, [{"key": page.rows[0][0]}], **options)
    assert [value for _, value in again.rows] == ["7"]


@pytest.mark.parametrize("text", ["{", "[" * 5_000, '"\\ud800"', "5", "1e400", '"%s"' % ("x" * 2_000_000), ""])
def test_a_key_that_is_none_gets_a_reason(text: str) -> None:
    """A key of another type, or no JSON."""
    answer, after = answers(GOOD, [{"key": text}, {"key": '"ann"'}], key_type=str)
    assert answer.error is not None
    assert not answer.passing
    assert len(answer.error) < 2_000
    assert after.rows == (('"ann"', "1"),)


def test_what_timed_out_is_not_answered() -> None:
    """Neither what lay in the socket for too long nor what waited behind others; a page stops in its middle."""
    stores = {task: MemoryStore(["seen"]) for task in TASKS}
    stores[TASKS[0]].write({"seen": {b'"%06d"' % number: b"1" for number in range(50_000)}}, {"seen": 1})

    async def ask(asker: Asker) -> None:
        late = asker.begin(until=time.monotonic() - 0.001)
        slow = asker.begin(rows_max=10**9, until=time.monotonic() + 0.005)
        assert (await asker.ask(key='"000007"')).rows
        assert not late.done()
        assert not slow.done()

    asking(stores, ask)


def test_far_out_and_odd_questions_hold_up_neither_loop_nor_commits(tmp_path: Path) -> None:
    """300,000 rows and 180 questions at once (C1): what is too much is refused with a reason; the loop turns."""
    stores = {task: RocksStore.open(tmp_path / str(task), ["seen"], Memory(8 * MIB, 8 * MIB)) for task in TASKS}
    for start in range(0, 300_000, 50_000):
        rows: dict[bytes, bytes | None] = {b'"row-%09d"' % number: b"1" for number in range(start, start + 50_000)}
        stores[TASKS[start // 50_000 % 2]].write({"seen": rows}, {"seen": start})
    odd: list[Callable[[int], dict[str, Any]]] = [
        lambda number: {"after": f"2_0,{number}" + "9" * 4_000, "rows_max": 10_000},
        lambda number: {"after": "2_1,InJvdy0wMDAyIg==", "rows_max": 10**9},
        lambda number: {"key": "[" * (1_000 + number)},
        lambda number: {"rows_max": 10**9},
        lambda number: {"key": json.dumps("x" * 60_000)},
        lambda number: {"after": "9" * 5_000 + "_0,"},
    ]
    gaps: list[float] = []
    commits = threading.Event()

    async def beat() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.001)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    def commit() -> None:
        stores[TASKS[1]].write({"seen": {b'"new"': b"1"}}, {"seen": 400_000})
        commits.set()

    async def ask(asker: Asker) -> None:
        beating = asyncio.create_task(beat())
        waiting = [asker.begin(**odd[number % len(odd)](number)) for number in range(180)]
        await asyncio.get_running_loop().run_in_executor(None, commit)
        done, timed_out = await asyncio.wait(waiting, timeout=READ_SECONDS + 1.0)
        beating.cancel()
        found = [one.result() for one in done]
        assert len(timed_out) < QUESTIONS_MAX
        refused = [one for one in found if one.passing]
        assert len(refused) == 180 - QUESTIONS_MAX
        # The next one has an answer: nobody waits behind what nobody wants any more.
        assert (await asker.ask(key='"new"')).rows == (('"new"', "1"),)
        assert {one.error for one in refused} == {f"{QUESTIONS_MAX} questions wait at this worker"}
        assert all(sum(map(len, row)) < 1_000 for one in found for row in one.rows)
        assert max(sum(len(key) + len(value) for key, value in one.rows) for one in found) < 1.1 * ROWS_BYTES_MAX

    asking(stores, ask)
    for store in stores.values():
        store.close()
    assert commits.is_set()
    # The machine is shared, and its scheduler may take the processor away for longer than any question does.
    assert sorted(gaps)[int(len(gaps) * 0.95)] < 0.03
