"""The judge is judged: right histories are green, and each seeded violation turns the check that it is about red."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.checks import CHECKS, verdict
from tests.ledger.mutations_timed import MUTATIONS
from tests.ledger.right_history import right_history


def red(found: dict[str, list[str]]) -> list[str]:
    """The checks that found something."""
    return [name for name, violations in found.items() if violations]


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_seeded_violation_turns_its_check_red(name: str) -> None:
    """One thing is wrong, in the middle of the history, and the check that is about it says so."""
    check, mutate = MUTATIONS[name]

    found = verdict(mutate(copy.deepcopy(right_history()), lambda count: count // 2))

    assert check in red(found), f"{name}: {found}"


def test_every_check_has_a_violation_that_it_finds() -> None:
    """No check is there that could say nothing for ever."""
    assert {check for check, _ in MUTATIONS.values()} == {*CHECKS}
    assert len(CHECKS) == 15


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), steps=st.integers(2, 40), accounts=st.integers(1, 30))
def test_right_histories_are_green(seed: int, steps: int, accounts: int) -> None:
    """Whatever is sent, in whatever commits: where nothing is wrong nothing is found."""
    assert red(verdict(right_history(seed, steps, accounts))) == []


@settings(max_examples=60)
@given(name=st.sampled_from(sorted(MUTATIONS)), seed=st.integers(0, 10_000), share=st.floats(0, 0.999))
def test_violations_are_found_wherever_they_are(name: str, seed: int, share: float) -> None:
    """The same with other histories and other places."""
    check, mutate = MUTATIONS[name]

    found = verdict(mutate(right_history(seed), lambda count: int(count * share)))

    assert check in red(found), f"{name}: {found}"


@pytest.mark.parametrize("name", ["drop_one_of_out5", "duplicate_one_of_out5", "swap_two_of_out5"])
def test_a_check_is_about_one_property(name: str) -> None:
    """A lost record is no duplicate, and a swapped one is neither."""
    check, mutate = MUTATIONS[name]

    found = red(verdict(mutate(right_history(), lambda count: count // 2)))

    assert not {"no loss", "no duplicates", "order"} & {*found} - {check}
