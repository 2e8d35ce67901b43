"""Lists all settings: writes docs/settings.md, of the texts, types and defaults in settings.py and of config/bounds.py.

`.venv/bin/python scripts/settings.py`, after a setting was changed; tests/test_readme.py compares.
"""

from __future__ import annotations

import ast
import inspect
import re
import typing
from pathlib import Path

import msgspec

from streamcluster.config.bounds import NUMBER_MAX, bounds_of
from streamcluster.settings import Settings

PAGE = Path(__file__).parents[1] / "docs/settings.md"
# The setting that a part begins with -> the part.
PARTS = {
    "id": "The app",
    "broker_security_protocol": "Security",
    "commit_interval": "Commits",
    "topic_partitions": "Topics that are created",
    "key_serializer": "Codecs",
    "error_retries": "Failing events",
    "consumer_auto_offset_reset": "Reading and writing records",
    "worker_memory": "Memory",
    "host": "Hosts",
    "workers": "Processes and logs",
}
TYPES = {"str": "text", "int": "number", "bool": "true or false", "Seconds": "seconds", "Bytes": "bytes"}
HEAD = """\
# Settings

Made by `scripts/settings.py` from the code, which is what counts.

A setting may be given in four places; each beats the ones before it:

1. the code: `streamcluster.App("shop", drain_timeout=10)`
2. a file: `streamcluster.toml` in the current directory, or `--config FILE`, or `$STREAMCLUSTER_CONFIG`:
   `drain_timeout = "10s"`
3. the environment: `STREAMCLUSTER_DRAIN_TIMEOUT=10s` (an empty value counts as not set)
4. the command line: `--drain-timeout 10s`

Durations are seconds, or text with a unit: `500ms`, `25s`, `1m`, `2h`, `1d`. Sizes are bytes. `none` is the absence of
a value where a setting has one (`STREAMCLUSTER_COMMIT_INTERVAL=none`). Unknown names and wrong values are errors that
name the place.
"""


def texts() -> dict[str, tuple[str, str]]:
    """Setting -> its type as the code writes it, and the text below it."""
    (struct,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(struct, ast.ClassDef)
    found: dict[str, tuple[str, str]] = {}
    for field, text in zip(struct.body, struct.body[1:], strict=False):
        match field, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name), annotation=annotation),
                ast.Expr(value=ast.Constant(value=str(words))),
            ):
                found[name] = ast.unparse(annotation), " ".join(words.split())
    return found


def type_of(annotation: str, hint: object) -> str:
    """In words: one of some values, or what it is in which unit."""
    plain = annotation.removesuffix(" | None")
    if plain in TYPES:
        return TYPES[plain]
    if plain.startswith("dict["):
        return "names and values"
    arguments = [one for one in typing.get_args(hint) if one is not type(None)]
    choices = arguments if all(isinstance(one, str) for one in arguments) else typing.get_args(arguments[0])
    return ", ".join(f"`{one}`" for one in choices)


def default_of(setting: msgspec.structs.FieldInfo) -> str:
    """As it is written in a file."""
    default: object = setting.default
    if default is msgspec.NODEFAULT and setting.default_factory is msgspec.NODEFAULT:
        return "required"
    if default is msgspec.NODEFAULT:
        return f"`{setting.default_factory()}`"
    if default is None or isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def bounds_in_words(name: str) -> str:
    """Between what it may be; that numbers end before JSON's do goes without saying."""
    least, most = bounds_of(name)
    if least is None:
        return ""
    return f"{least:,g} to {most:,}" if most != NUMBER_MAX else f"from {least:,.10g}"


def document() -> str:
    """The whole page."""
    of_each, hints = texts(), typing.get_type_hints(Settings)
    lines = [HEAD]
    for setting in msgspec.structs.fields(Settings):
        if setting.name in PARTS:
            lines += [
                f"{'' if len(lines) == 1 else chr(10)}## {PARTS[setting.name]}\n",
                "| setting | type | default | bounds | what it is |\n|---|---|---|---|---|",
            ]
        annotation, words = of_each[setting.name]
        cells = [
            f"`{setting.name}`",
            type_of(annotation, hints[setting.name]),
            default_of(setting),
            bounds_in_words(setting.name),
            re.sub(r"(?<!\\)\|", r"\\|", words),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
