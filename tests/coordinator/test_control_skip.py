"""Where a batch that cannot be unpacked ends is found, however long it is, and the first offset after it."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from streamcluster_coordinator.control_skip import Skip


@given(st.integers(0, 10**9), st.integers(1, 10**6))
@example(0, 1)
def test_the_first_offset_behind_the_batch_is_found_in_few_tries(first: int, length: int) -> None:
    """Nothing behind it is passed over; the tries grow with the logarithm of its length."""
    skip, tries = Skip(first), 0
    while tries < 1_000:
        tries += 1
        if skip.offset < first + length:
            skip.fails()
        elif skip.works():
            break

    assert skip.offset == first + length
    assert tries <= 2 * length.bit_length() + 2
