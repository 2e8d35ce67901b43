"""One Python file as the tidy rules see it: path, module name, syntax tree, and what each name was imported as.

Knows the layout of the checkout and Python's import syntax; must not know any rule.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .tables import PACKAGES

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDERS = (*PACKAGES, "tests", "examples")

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Violation(NamedTuple):
    """One broken rule. `name` is what an entry of the exceptions table would call it."""

    rule: str
    path: str
    line: int
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: [{self.rule}] {self.text}"


class Import(NamedTuple):
    """One imported thing. `module` is absolute; `attribute` is empty for `import module`."""

    module: str
    attribute: str
    name: str  # what it is called in the file
    level: int  # dots in front, 0 for an absolute import
    line: int
    at_module_level: bool

    @property
    def top(self) -> str:
        return self.module.split(".")[0]

    @property
    def dotted(self) -> str:
        return f"{self.module}.{self.attribute}" if self.attribute else self.module


@dataclass(frozen=True)
class Source:
    """A parsed file. `path` is relative to the checkout, with forward slashes."""

    path: str
    text: str
    tree: ast.Module
    imports: Sequence[Import]

    @property
    def folder(self) -> str:
        return self.path.split("/")[0]

    @property
    def package(self) -> str:
        """The package of ours that the file belongs to; empty for tests and examples."""
        return PACKAGES.get(self.folder, "")

    @property
    def module(self) -> str:
        return module_of(self.path)

    @property
    def names(self) -> Mapping[str, str]:
        """Name in this file -> dotted name of what was imported under it."""
        return {one.name: one.dotted for one in self.imports}

    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    def classes(self) -> Iterator[ast.ClassDef]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef))

    def dotted(self, node: ast.expr) -> str:
        """The dotted name an expression stands for (`Generic[T]` is `typing.Generic`), or '' when it is no name."""
        match node:
            case ast.Name(id=name):
                return self.names.get(name, name)
            case ast.Attribute(value=value, attr=attribute):
                owner = self.dotted(value)
                return f"{owner}.{attribute}" if owner else ""
            case ast.Subscript(value=value):
                return self.dotted(value)
            case _:
                return ""


def module_of(path: str) -> str:
    parts = path.removesuffix(".py").split("/")
    if parts[0] in PACKAGES:
        parts = parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parse(path: str, text: str) -> Source:
    tree = ast.parse(text, filename=path)
    module = module_of(path)
    package = module if path.endswith("/__init__.py") else module.rpartition(".")[0]
    return Source(path=path, text=text, tree=tree, imports=tuple(_imports(tree, package, at_module_level=True)))


def _imports(node: ast.AST, package: str, *, at_module_level: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                # `import a.b` binds `a`; only `import a.b as c` binds the submodule itself.
                bound = alias.name if alias.asname else alias.name.split(".")[0]
                yield Import(bound, "", alias.asname or bound, 0, child.lineno, at_module_level)
                if bound != alias.name:
                    yield Import(alias.name, "", alias.name, 0, child.lineno, at_module_level)
        elif isinstance(child, ast.ImportFrom):
            module = _absolute(child, package)
            for alias in child.names:
                name = alias.asname or alias.name
                yield Import(module, alias.name, name, child.level, child.lineno, at_module_level)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, package, at_module_level=at_module_level and not inside)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    kept = parts[: len(parts) - (node.level - 1)]
    return ".".join([*kept, node.module] if node.module else kept)


def load_checkout() -> list[Source]:
    """Every Python file of the project, in path order."""
    paths = [path for folder in FOLDERS for path in sorted((CHECKOUT / folder).rglob("*.py"))]
    return [
        parse(path.relative_to(CHECKOUT).as_posix(), path.read_text(encoding="utf-8"))
        for path in paths
        if "__pycache__" not in path.parts
    ]
