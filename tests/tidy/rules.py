"""All tidy rules by name, and how they are run over a set of files. Must not know where the files come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from . import imports, shape
from .source import Source, Violation

FILE_RULES: Mapping[str, Callable[[Source], Iterator[Violation]]] = {
    rule.__name__: rule
    for rule in (
        imports.allowed_importers,
        imports.importers_of_parts,
        imports.relative_inside_absolute_across,
        imports.no_type_checking_imports,
        imports.purity,
        shape.file_size,
        shape.function_size,
        shape.parameters,
        shape.class_size,
        shape.banned_names,
        shape.file_docstring,
        shape.docstring_of_tests,
        shape.swallowed_exceptions,
        shape.no_sleep_in_tests,
        shape.crashing_calls,
    )
}
TREE_RULES: Mapping[str, Callable[[Sequence[Source]], Iterator[Violation]]] = {
    rule.__name__: rule for rule in (imports.no_import_cycles, shape.inheritance, shape.foreign_writes)
}
RULES = (*FILE_RULES, *TREE_RULES)


def violations(rule: str, sources: Sequence[Source]) -> list[Violation]:
    """What breaks one rule in these files, before exceptions."""
    if rule in TREE_RULES:
        return list(TREE_RULES[rule](sources))
    return [found for source in sources for found in FILE_RULES[rule](source)]


def unexcused(found: Sequence[Violation], exceptions: Mapping[tuple[str, str, str], str]) -> list[Violation]:
    """The violations that no entry of the exceptions table covers."""
    return [one for one in found if (one.rule, one.path, one.name) not in exceptions]


def stale(found: Sequence[Violation], exceptions: Mapping[tuple[str, str, str], str]) -> list[tuple[str, str, str]]:
    """The entries of the exceptions table that cover no violation."""
    used = {(one.rule, one.path, one.name) for one in found}
    return [entry for entry in exceptions if entry not in used]
