"""The join's half of the state check: what a look-up may have seen of the profiles' topic."""

from __future__ import annotations

from dataclasses import replace

from tests.ledger.checks import verdict
from tests.ledger.folds import ProfileHistory
from tests.ledger.generator import profile
from tests.ledger.right_history import right_history
from tests.ledger.values import Log


def log_of(*rows: tuple[str, int]) -> Log:
    """A partition of profiles with these versions."""
    log = Log()
    for offset, (account, version) in enumerate(rows):
        row = profile(account, version)
        log.add(offset, row.key, row.value)
    return log


def test_a_version_that_was_stored_twice_is_current_until_the_next_one() -> None:
    """The second one ends nothing: a look-up between them, or behind both, gives this version."""
    history = ProfileHistory.of(log_of(("a", 1), ("b", 1), ("a", 1), ("b", 2), ("a", 2)))

    assert history.least_prefix("a", 1, 0) == 1
    assert history.least_prefix("a", 1, 4) == 4
    assert history.least_prefix("a", 1, 5) is None


def test_a_version_may_come_back_behind_a_newer_one() -> None:
    """A resent batch that the replaced producer had already passed: the old version is current again."""
    history = ProfileHistory.of(log_of(("a", 1), ("a", 2), ("a", 1), ("b", 1)))

    assert history.least_prefix("a", 1, 2) == 3
    assert history.least_prefix("a", 2, 3) is None


def test_before_the_first_version_there_is_none() -> None:
    """Version 0 says that nothing was found, which is right until something is there, and for ever if nothing is."""
    history = ProfileHistory.of(log_of(("b", 1), ("a", 1)))

    assert history.least_prefix("a", 0, 1) == 1
    assert history.least_prefix("a", 0, 2) is None
    assert history.least_prefix("c", 0, 2) == 2
    assert history.least_prefix("a", 7, 0) is None


def test_profiles_that_the_sender_stored_twice_are_no_fault_of_the_app() -> None:
    """Every profile is there twice in a row, and the joins are as right as before."""
    right = right_history()
    twice: dict[int, Log] = {}
    for partition, log in right.names.items():
        twice[partition] = doubled = Log()
        for number, (key, value) in enumerate(log.rows()):
            doubled.add(2 * number, key, value)
            doubled.add(2 * number + 1, key, value)

    assert verdict(replace(right, names=twice))["state"] == []
