"""Where a batch that cannot be unpacked ends is found, however long it is, and the first offset after it."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from streamcluster.batch_end import BatchEnd


@given(st.integers(0, 10**9), st.integers(1, 10**6))
@example(0, 1)
def test_the_first_offset_behind_the_batch_is_found_in_few_tries(first: int, length: int) -> None:
    """Nothing behind it is passed over; the tries grow with the logarithm of its length."""
    end, tries = BatchEnd(first), 0
    while not end.is_found and tries < 1_000:
        tries += 1
        if end.offset < first + length:
            end.is_inside()
        else:
            end.is_behind()

    assert end.offset == first + length
    assert tries <= 2 * length.bit_length() + 2
