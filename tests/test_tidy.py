"""The project keeps its own rules: layers, purity, sizes, names.

The rules are in tests/tidy/, what they allow in tests/tidy/tables.py, and the proof that each rule can fail in
tests/tidy/test_rules.py.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch
from functools import cache

import pytest

from tests.tidy.imports import lines_that_name
from tests.tidy.rules import RULES, stale, unexcused, violations
from tests.tidy.source import FOLDERS, Source, Violation, load_checkout
from tests.tidy.tables import ALLOWED_IN, EXCEPTIONS, PACKAGES, PURE, WRITTEN_IN

Broken = Callable[[str], list[Violation]]


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    """Every file of the project, parsed. Not while tests are collected, which each process does."""
    return load_checkout()


@pytest.fixture(scope="module")
def broken(sources: list[Source]) -> Broken:
    """What breaks a rule, looked for once."""
    return cache(lambda rule: violations(rule, sources))


@pytest.mark.parametrize("rule", RULES)
def test_checkout_keeps_rule(rule: str, broken: Broken) -> None:
    """No file of the project breaks the rule without a reason in the exceptions table."""
    found = unexcused(broken(rule), EXCEPTIONS)
    assert not found, "\n" + "\n".join(str(one) for one in found)


def test_exceptions_are_all_in_use_and_explained(broken: Broken) -> None:
    """Each exception excuses something that is there today, and says why."""
    found = [one for rule in RULES for one in broken(rule)]
    assert stale(found, EXCEPTIONS) == []
    assert [entry for entry, reason in EXCEPTIONS.items() if len(reason.split()) < 4] == []


def test_patterns_match_something(sources: list[Source]) -> None:
    """A pattern that a move has left behind would allow, or demand, something of whatever comes there next."""
    paths = [source.path for source in sources]
    patterns = [*PURE, *WRITTEN_IN, *(one for writers, _ in WRITTEN_IN.values() for one in writers)]
    assert [one for one in patterns if not any(fnmatch(path, one) for path in paths)] == []
    unused = [
        (module, pattern)
        for module, patterns in ALLOWED_IN.items()
        for pattern in patterns
        if not any(fnmatch(source.path, pattern) and lines_that_name(source, module) for source in sources)
    ]
    assert unused == []


def test_every_folder_of_ours_is_looked_at(sources: list[Source]) -> None:
    """The rules see files in each package and in the tests: a moved folder must not go unchecked."""
    assert {*PACKAGES, "tests"} <= {source.folder for source in sources} <= set(FOLDERS)


def test_packages_are_regular_packages(sources: list[Source]) -> None:
    """Each package has an __init__.py: without it two checkouts on one path would mix silently."""
    expected = {f"{folder}/{package}/__init__.py" for folder, package in PACKAGES.items()}
    assert expected - {source.path for source in sources} == set()
