"""The rows of a commit of a table with dates in C and in Python: the same bytes, times and errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster import dated_rows, loops
from streamcluster.codecs.table_coding import KeyPart, make_table_coder, types_as_json
from streamcluster.dates import records_of
from streamcluster.engine import row_dates
from streamcluster.engine.rows import DELETED, RowCoder
from streamcluster.times import Closing
from streamcluster.windows.keys import deleted_at, deleted_before, windowed
from streamcluster.windows.kinds import Hopping
from streamcluster.windows.lapsing import lapsing

pytestmark = pytest.mark.skipif(not dated_rows.is_in_c(), reason="it was not built")

KEY = make_table_coder(None, None, allow_pickle=False, is_key=True)
ENCODE_ROW = windowed(KEY)[0]
# A window of each of two sizes, and what a changelog may hold of no window at all.
ROW_KEYS = [ENCODE_ROW((key, start, start + 10_000)) for key in ["a", "é", 1, None] for start in (0, 5_000, -10_000)]
OTHER_KEYS = [b"", b"no window", b'["a",[x,y]]']
TIMES = st.sampled_from([0, 1, -1, 1_700_000_000_000, -(1 << 62), 1 << 62])
VALUES = st.one_of(st.integers(), st.booleans(), st.none(), st.floats(), st.text(), st.lists(st.integers()))
WRITTEN = st.dictionaries(
    st.sampled_from(ROW_KEYS), st.one_of(st.just(DELETED), st.tuples(VALUES, TIMES)), max_size=len(ROW_KEYS)
)
DATES = st.dictionaries(st.sampled_from(ROW_KEYS), TIMES)


@pytest.fixture(autouse=True)
def _in_c() -> Iterator[None]:
    before = loops._in_c
    yield
    loops._in_c = before


def coder(type_: Any = None) -> RowCoder:
    """Of a table of windows with values of that type."""
    value = make_table_coder(type_, None, allow_pickle=False)
    part = KeyPart(KEY[0], frozenset({str}))
    return RowCoder("t", windowed(KEY), value, part=part, values_as_json=types_as_json(type_, None))


def both(do: Any) -> Any:
    """What it gives in both ways, or raises."""
    found: list[Any] = []
    for is_in_c in (True, False):
        loops._in_c = is_in_c
        try:
            found.append(do())
        except Exception as error:  # noqa: BLE001 (that is compared)
            found.append((type(error), str(error)))
    assert found[0] == found[1]
    return found[0]


@given(written=WRITTEN, dates=DATES, type_=st.sampled_from([None, int, str]))
def test_what_was_written_becomes_the_same_rows(written: Any, dates: Any, type_: Any) -> None:
    """Values of all types, whole numbers that no 64 bits have among them, and what cannot be encoded."""
    both(lambda: [*row_dates.encoded(coder(type_), written, dates).items()])


@given(written=WRITTEN, dates=DATES, deleted=st.sets(st.sampled_from(ROW_KEYS)))
def test_the_same_dates_are_noted(written: Any, dates: Any, deleted: Any) -> None:
    """Of what was written, but not of what was deleted since."""

    def noted() -> Any:
        known = {**dates}
        row_dates.note(known, written, deleted)
        return known

    both(noted)


@given(
    written=WRITTEN,
    others=st.dictionaries(st.sampled_from([*ROW_KEYS, *OTHER_KEYS]), st.none()),
    deleted=st.sampled_from([deleted_at, deleted_before]),
    latest=st.sampled_from([1 << 62, 1_000]),
)
def test_a_changelog_gets_the_same_records(written: Any, others: Any, deleted: Any, latest: int) -> None:
    """With deletions of what is no window's key among them, and times that no broker takes."""
    written = {key: pair for key, pair in written.items() if pair is DELETED or type(pair[0]) is int}
    rows = {**row_dates.encoded(coder(), written, {}), **others}
    both(lambda: records_of(rows, deleted, latest))


@given(written=WRITTEN, now=st.sampled_from([-1, 0, 5_000, 10_000, 20_000]), dates=DATES)
def test_the_same_windows_have_lapsed(written: Any, now: int, dates: Any) -> None:
    """And what is left without them is the same, in order; others are forgotten where there are any."""
    closing = Closing("end", None, 10_000)

    def lapsed() -> Any:
        found = lapsing(Hopping(10_000, 5_000), [closing])
        assert found is not None
        gone, known = found(written, now), {**dates}
        left = dated_rows.without(written, gone)
        dated_rows.forget(known, gone)
        assert left is not written
        return gone, [*left.items()], known

    gone, left, known = both(lapsed)
    assert {*gone}.isdisjoint([key for key, _ in left])
    assert len(gone) + len(left) == len(written)
    assert known == {key: at for key, at in dates.items() if key not in gone}


def test_what_decides_which_windows_have_lapsed_may_change_nothing() -> None:
    """As Python raises it where a dict changes while it is gone through."""
    written: dict[Any, Any] = dict.fromkeys(ROW_KEYS, ("text", 0))

    def change(_tail: bytes) -> bool:
        written.clear()
        return True

    with pytest.raises(RuntimeError):
        dated_rows.due(written, change)
    assert dated_rows.due({b"no window": (1, 0)}, bool) is None


@given(times=st.lists(TIMES | st.integers(), min_size=1), first=TIMES)
def test_the_largest_up_to_each_time_is_the_same(times: Any, first: int) -> None:
    """Also where one of them has no 64 bits."""
    marks = both(lambda: dated_rows.running_max(times, first))
    assert marks == [max(first, *times[: count + 1]) for count in range(len(times))]


def test_whole_numbers_are_not_encoded_one_by_one_where_json_has_them() -> None:
    """The coder is asked for all others."""
    asked: list[Any] = []
    of_json = coder(int)
    encode = of_json.encode

    def noted(value: Any) -> bytes:
        asked.append(value)
        return encode(value)

    of_json.encode = noted
    rows = row_dates.encoded(of_json, {ROW_KEYS[0]: (7, 0), ROW_KEYS[1]: (1 << 63, 0)}, {})
    assert [row[8:] for row in rows.values() if row is not None] == [b"7", b"9223372036854775808"]
    assert asked == [1 << 63]


def test_a_codec_that_changes_what_is_encoded_is_an_error() -> None:
    """As Python raises it where a dict changes while it is gone through."""
    written: dict[Any, Any] = dict.fromkeys(ROW_KEYS, ("text", 0))
    of_json = coder()
    encode = of_json.encode

    def change(value: Any) -> bytes:
        written.clear()
        return encode(value)

    of_json.encode = change
    with pytest.raises(RuntimeError):
        row_dates.encoded(of_json, written, {})
