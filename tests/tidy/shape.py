"""Rules about the shape of the code: sizes, names, docstrings, inheritance, swallowed exceptions, banned calls.

Each rule takes files and gives violations; limits and allowed roots are in tables.py.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch

from .source import Source, Violation
from .tables import (
    BANNED_WORDS,
    CLASS_METHODS_MAX,
    CRASHING_CALLS,
    FILE_LINES_MAX,
    FUNCTION_LINES_MAX,
    FUNCTION_PARAMETERS_MAX,
    ROOTS,
    TEST_ROOTS,
    WRITTEN_IN,
)

BUILTIN_EXCEPTIONS = frozenset(
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
)
BROAD = frozenset({"Exception", "BaseException", "builtins.Exception", "builtins.BaseException"})


def file_size(source: Source) -> Iterator[Violation]:
    """A file has at most 420 lines."""
    lines = len(source.text.splitlines())
    if lines > FILE_LINES_MAX:
        text = f"{lines} lines, the limit is {FILE_LINES_MAX}: split it by what it decides"
        yield Violation("file_size", source.path, 1, "", text)


def function_size(source: Source) -> Iterator[Violation]:
    """A function has at most 80 lines, docstring and inner functions included."""
    for node in source.functions():
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            text = f"{node.name}() has {lines} lines, the limit is {FUNCTION_LINES_MAX}"
            yield Violation("function_size", source.path, node.lineno, node.name, text)


def parameters(source: Source) -> Iterator[Violation]:
    """A function has at most 8 parameters beside self: more of them are a thing that has no name yet."""
    for node in source.functions() if source.package else ():
        names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        count = len(names) - (names[:1] in (["self"], ["cls"]))
        if count > FUNCTION_PARAMETERS_MAX:
            text = f"{node.name}() has {count} parameters, the limit is {FUNCTION_PARAMETERS_MAX}"
            yield Violation("parameters", source.path, node.lineno, node.name, text)


def foreign_writes(sources: Sequence[Source]) -> Iterator[Violation]:
    """An attribute that a class of ours declares is written in the module of such a class only.

    Types are not known here: an attribute is taken for that of any class that declares one of its name.
    """
    ours = [source for source in sources if source.package]
    owners: dict[str, set[str]] = {}
    for source in ours:
        for declared in source.classes():
            for name in _attributes(declared):
                owners.setdefault(name, set()).add(source.path)
    for source in ours:
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.Attribute) or isinstance(node.ctx, ast.Load):
                continue
            is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            there = owners.get(node.attr, set())
            if is_own or not there or any(_may_write(source.path, owner) for owner in there):
                continue
            text = f"{ast.unparse(node)} is written here, and declared in {', '.join(sorted(there))}: give it a method"
            yield Violation("foreign_writes", source.path, node.lineno, node.attr, text)


def _attributes(node: ast.ClassDef) -> Iterator[str]:
    """What a class declares: its fields, and what its methods set on self."""
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            yield field.target.id
    for child in ast.walk(node):
        match child:
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name


def _may_write(path: str, owner: str) -> bool:
    return path == owner or any(
        fnmatch(owner, declared) and any(fnmatch(path, one) for one in writers)
        for declared, (writers, _) in WRITTEN_IN.items()
    )


def class_size(source: Source) -> Iterator[Violation]:
    """A class has at most 25 methods; overloads of one method count once."""
    for node in source.classes():
        methods = {child.name for child in node.body if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)}
        if len(methods) > CLASS_METHODS_MAX:
            text = f"class {node.name} has {len(methods)} methods, the limit is {CLASS_METHODS_MAX}"
            yield Violation("class_size", source.path, node.lineno, node.name, text)


def banned_names(source: Source) -> Iterator[Violation]:
    """No file, class or function is called utils, helpers, common, base, manager, handler or service."""
    named = [(1, part) for part in source.path.removesuffix(".py").split("/")]
    named += [(node.lineno, node.name) for node in source.classes()]
    # A test's name is a sentence, in which such a word may be about something.
    named += [(node.lineno, node.name) for node in source.functions() if not node.name.startswith("test_")]
    for line, name in named:
        for word in sorted(_words(name) & BANNED_WORDS):
            text = f"{name} says {word!r}, which says nothing: name what it is or does"
            yield Violation("banned_names", source.path, line, name, text)


def _words(name: str) -> set[str]:
    """`KafkaHTTPHandler_v2` -> kafka, http, handler, v2."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return {word.lower() for word in re.split(r"[_\-.]+", spaced) if word}


def file_docstring(source: Source) -> Iterator[Violation]:
    """A file opens with a docstring."""
    if not (ast.get_docstring(source.tree) or "").strip():
        text = "no docstring at the top: say what the file decides and what it must not know"
        yield Violation("file_docstring", source.path, 1, "", text)


def docstring_of_tests(source: Source) -> Iterator[Violation]:
    """A test says in words which property it holds."""
    for node in source.functions():
        is_test = source.folder == "tests" and node.name.startswith("test_")
        if is_test and not (ast.get_docstring(node) or "").strip():
            text = f"{node.name}() has no docstring: state the property in words"
            yield Violation("docstring_of_tests", source.path, node.lineno, node.name, text)


def inheritance(sources: Sequence[Source]) -> Iterator[Violation]:
    """A class inherits from nothing but exceptions, protocols, enums, structs, and classes of ours that do."""
    classes = {f"{source.module}.{node.name}": (source, node) for source in sources for node in source.classes()}
    modules = {source.module: source for source in sources}
    for source, node in classes.values():
        for base in node.bases:
            if not _is_allowed_root(source, base, classes, modules):
                text = f"class {node.name} inherits from {ast.unparse(base)}: compose instead"
                yield Violation("inheritance", source.path, node.lineno, node.name, text)


def _is_allowed_root(
    source: Source,
    base: ast.expr,
    classes: Mapping[str, tuple[Source, ast.ClassDef]],
    modules: Mapping[str, Source],
) -> bool:
    dotted = source.dotted(base)
    local = f"{source.module}.{dotted}"
    target = _follow(local if local in classes else dotted, classes, modules)
    if target in ROOTS or target in BUILTIN_EXCEPTIONS or (source.folder == "tests" and target in TEST_ROOTS):
        return True
    if target not in classes:
        return False
    owner, node = classes[target]
    # A class of ours with no bases of its own is a plain class: inheriting from it is what the rule forbids.
    return bool(node.bases) and all(_is_allowed_root(owner, one, classes, modules) for one in node.bases)


def _follow(dotted: str, classes: Mapping[str, object], modules: Mapping[str, Source]) -> str:
    """Through re-exports to where the class is defined; each step goes to another file, so it ends."""
    for _ in range(len(modules)):
        module, _, name = dotted.rpartition(".")
        if dotted in classes or module not in modules or name not in modules[module].names:
            break
        dotted = modules[module].names[name]
    return dotted


def swallowed_exceptions(source: Source) -> Iterator[Violation]:
    """No bare `except:`, and nothing broad is caught only to be forgotten."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and (text := _swallows(source, node)):
            yield Violation("swallowed_exceptions", source.path, node.lineno, "except", text)
        elif isinstance(node, ast.Call) and source.dotted(node.func) == "contextlib.suppress":
            for _ in (argument for argument in node.args if source.dotted(argument) in BROAD):
                text = "suppress() of every exception: name the one that is expected"
                yield Violation("swallowed_exceptions", source.path, node.lineno, "suppress", text)


def _swallows(source: Source, node: ast.ExceptHandler) -> str:
    if node.type is None:
        return "bare except: name the exception that is expected here"
    caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    if any(source.dotted(one) in BROAD for one in caught) and all(_does_nothing(one) for one in node.body):
        return "every exception is caught and forgotten: name the expected one, or say and pass on what happened"
    return ""


def _does_nothing(node: ast.stmt) -> bool:
    is_constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_constant or isinstance(node, ast.Pass | ast.Continue)


def no_sleep_in_tests(source: Source) -> Iterator[Violation]:
    """A test waits for a condition with a deadline, never for time to pass."""
    if source.folder != "tests":
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and source.dotted(node.func) == "time.sleep":
            text = "time.sleep() in a test: wait for a condition, with a deadline"
            yield Violation("no_sleep_in_tests", source.path, node.lineno, "time.sleep", text)


def crashing_calls(source: Source) -> Iterator[Violation]:
    """Nothing calls what may end the process from inside a library."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CRASHING_CALLS:
            name = node.func.attr
            yield Violation("crashing_calls", source.path, node.lineno, name, f"{name}(): {CRASHING_CALLS[name]}")
