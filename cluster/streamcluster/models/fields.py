"""Annotations of a record class before msgspec sees them: implied and copied defaults, and their order.

Works on the namespace of a class that is being made; it must not know what the record is used for.
"""

from __future__ import annotations

import ast
import copy
import sys
import types
import typing
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

if sys.version_info >= (3, 14):
    import annotationlib

FIELD: Any = type(msgspec.field())
# msgspec copies empty ones itself; these are copied for every instance whatever is in them.
MUTABLE = (list, dict, set, bytearray, deque, msgspec.Struct)


def prepare_fields(class_name: str, namespace: dict[str, Any], scope: Mapping[str, Any]) -> bool:
    """Rewrite annotations and defaults in `namespace` and say whether a field without default is among them.

    `X | None` without a default gets None; such fields move behind the required ones, as in Faust.

    Args:
        scope: the names where the class is declared, so that classes made inside of functions can be annotated.

    Raises:
        TypeError: a field without a default follows one that has one.
    """
    annotations = _annotations_of(namespace)
    required: dict[str, Any] = {}
    optional: dict[str, Any] = {}
    explicit: list[str] = []
    for name, written in annotations.items():
        annotation = _resolve(written, namespace.get("__module__"), scope)
        if _is_class_variable(annotation):
            optional[name] = annotation
        elif name in namespace and not _is_required(namespace[name]):
            explicit.append(name)
            namespace[name] = _copied(namespace[name])
            optional[name] = annotation
        elif _is_optional(annotation):
            # What is in the namespace here is a field(name=...) that only renames.
            written_name = namespace[name].name if name in namespace else None
            namespace[name] = msgspec.field(default=None, name=written_name)
            optional[name] = annotation
        elif explicit:
            raise TypeError(
                f"Record {class_name}: field {name!r} has no default but follows {', '.join(map(repr, explicit))}, "
                "which has one: move it up, or give it a default."
            )
        else:
            required[name] = annotation
    if annotations:
        namespace["__annotations__"] = required | optional
    return bool(required)


def _annotations_of(namespace: dict[str, Any]) -> dict[str, Any]:
    if sys.version_info >= (3, 14) and "__annotations__" not in namespace:
        annotate = annotationlib.get_annotate_from_class_namespace(namespace)
        if annotate is None:
            return {}
        return annotationlib.call_annotate_function(annotate, annotationlib.Format.FORWARDREF)
    found: dict[str, Any] = namespace.get("__annotations__", {})
    return found


def _resolve(annotation: Any, module: str | None, scope: Mapping[str, Any]) -> Any:
    """What a text annotation says; the text itself when it names what does not exist yet."""
    if not isinstance(annotation, str):
        return annotation
    declared_in = sys.modules.get(module or "")
    names = vars(declared_in) if declared_in is not None else {}
    try:
        return eval(annotation, names, scope)
    except (NameError, AttributeError, TypeError, SyntaxError):
        return annotation


def _is_required(default: Any) -> bool:
    """Whether this is msgspec.field(name=...) without a default."""
    return (
        isinstance(default, FIELD)
        and default.default is msgspec.NODEFAULT
        and default.default_factory is msgspec.NODEFAULT
    )


def _copied(default: Any) -> Any:
    if isinstance(default, MUTABLE):
        return msgspec.field(default_factory=partial(copy.deepcopy, default))
    return default


def _is_class_variable(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.startswith(("ClassVar", "typing.ClassVar"))
    return annotation is typing.ClassVar or typing.get_origin(annotation) is typing.ClassVar


def _is_optional(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return _text_is_optional(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        return _is_optional(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return type(None) in typing.get_args(annotation)
    return annotation is None or annotation is type(None)


def _text_is_optional(text: str) -> bool:
    """Whether a text annotation has None among its outermost alternatives."""
    try:
        waiting: list[ast.expr] = [ast.parse(text, mode="eval").body]
    except SyntaxError:
        return False
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Constant) and node.value is None:
            return True
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            waiting += [node.left, node.right]
        elif isinstance(node, ast.Subscript):
            name = ast.unparse(node.value).rpartition(".")[2]
            if name == "Optional":
                return True
            if name == "Union" and isinstance(node.slice, ast.Tuple):
                waiting += node.slice.elts
    return False
