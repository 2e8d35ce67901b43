"""Rules about imports: layers, who may name a library, relative or absolute, type-checking imports, cycles, purity.

Each rule takes files and gives violations; the allow-lists are in tables.py.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter

from .source import Source, Violation
from .tables import ALLOWED_IN, CLOCK_READS, IMPURE_CALLS, IMPURE_MODULES, PACKAGES, PARTS, PURE

OUR_PACKAGES = frozenset(PACKAGES.values())


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def allowed_importers(source: Source) -> Iterator[Violation]:
    """A module of the allow-list table is named, by import or in a string, only in the files listed for it."""
    if not source.package:
        return
    for module, paths in ALLOWED_IN.items():
        if source.package == module or _matches(source.path, paths):
            continue
        for line in lines_that_name(source, module):
            text = f"{module} is named here; only {', '.join(paths)} may (ALLOWED_IN in tests/tidy/tables.py)"
            yield Violation("allowed_importers", source.path, line, module, text)


def lines_that_name(source: Source, module: str) -> list[int]:
    """Where a file names a module, by import or, one of ours, in a string."""
    imported = {one.line for one in source.imports if one.top == module}
    # Only a string that is a module path as a whole ("package.module:function") is a hidden import; text that
    # mentions a library, in a docstring or a message, is not.
    path = re.compile(rf"{module}([.:][\w.:]+)?")
    strings = {
        node.lineno
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and path.fullmatch(node.value)
    }
    # A library's bare name as a string may be anything (a label, a key); that of a package of ours may not.
    return sorted(imported | strings if module in OUR_PACKAGES else imported)


def importers_of_parts(source: Source) -> Iterator[Violation]:
    """A part of a package is imported only in the files that are listed for it."""
    if not source.package:
        return
    for part, paths in PARTS.items():
        if _matches(source.path, paths):
            continue
        for one in source.imports:
            if f"{one.dotted}.".startswith(f"{part}."):
                text = f"{part} is imported here; only {', '.join(paths)} may (PARTS in tests/tidy/tables.py)"
                yield Violation("importers_of_parts", source.path, one.line, part, text)


def relative_inside_absolute_across(source: Source) -> Iterator[Violation]:
    """Inside a package imports are relative, across packages absolute, and no dots lead out of the package."""
    if not source.package:
        return
    for one in source.imports:
        if one.level == 0 and one.top == source.package:
            text = f"{one.dotted} is of this package: import it relatively (from .x import y)"
        elif one.level > 0 and one.top != source.package:
            text = f"the dots of this import lead out of {source.package}: import across packages absolutely"
        else:
            continue
        yield Violation("relative_inside_absolute_across", source.path, one.line, one.dotted, text)


def no_type_checking_imports(source: Source) -> Iterator[Violation]:
    """No TYPE_CHECKING: an import that only the type checker sees hides a cycle."""
    for node in ast.walk(source.tree):
        named = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if named == "TYPE_CHECKING" and isinstance(node, ast.expr):
            text = "TYPE_CHECKING hides a cycle: move what both files need into a third"
            yield Violation("no_type_checking_imports", source.path, node.lineno, named, text)


def purity(source: Source) -> Iterator[Violation]:
    """A pure file reads no clock, draws no randomness, does no I/O, and imports only pure files of ours."""
    if not (source.package and _matches(source.path, PURE)):
        return
    for one in source.imports:
        if one.top in IMPURE_MODULES:
            text = f"pure file imports {one.module}: pass the value or the event in"
        elif one.top in OUR_PACKAGES and not _is_pure_module(one.module, one.attribute):
            text = f"pure file imports {one.dotted}, which is not declared pure (PURE in tests/tidy/tables.py)"
        else:
            continue
        yield Violation("purity", source.path, one.line, one.dotted, text)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and (called := _impure_call(node.func)):
            text = f"pure file calls {called}(): pass the value or the event in"
            yield Violation("purity", source.path, node.lineno, called, text)


def _is_pure_module(module: str, attribute: str) -> bool:
    """`from .x import y` needs x pure; `from . import x` needs x pure, for the package itself is only a folder."""
    folder = next(folder for folder, package in PACKAGES.items() if package == module.split(".")[0])
    paths = [f"{folder}/{name.replace('.', '/')}" for name in (module, f"{module}.{attribute}")]
    return any(_matches(path, PURE) for one in paths for path in (f"{one}.py", f"{one}/__init__.py"))


def _impure_call(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) if name in IMPURE_CALLS:
            return name
        case ast.Attribute(value=ast.Name(id="datetime" | "date" as owner), attr=name) if name in CLOCK_READS:
            return f"{owner}.{name}"
        case ast.Attribute(value=ast.Attribute(attr="datetime" | "date" as owner), attr=name) if name in CLOCK_READS:
            return f"{owner}.{name}"
        case _:
            return ""


def no_import_cycles(sources: Sequence[Source]) -> Iterator[Violation]:
    """The imports at module level form no cycle."""
    of = {source.module: source for source in sources if source.package}
    graph = {module: _imported_modules(source, of) for module, source in of.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        first = of[cycle[0]]
        text = f"import cycle: {' <- '.join(cycle)}; move what they share into a file that imports none of them"
        yield Violation("no_import_cycles", first.path, 1, cycle[0], text)


def _imported_modules(source: Source, of: Mapping[str, Source]) -> set[str]:
    found: set[str] = set()
    for one in source.imports:
        if one.at_module_level:
            # `from .a import b` may mean the module a.b; then a (a package) is only on the way to it.
            found.add(one.dotted if one.dotted in of else one.module)
    return {module for module in found if module in of}
