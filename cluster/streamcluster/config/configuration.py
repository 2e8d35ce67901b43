"""Where settings come from: App keywords < streamcluster.toml < environment < command line.

It reads what the operator set, checks names and types, and names the file, variable or option in every complaint.
It does not know the App: `make_settings` joins this with the code's keywords.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ..errors import ConfigurationError
from ..outside import Unreadable, parse
from ..printable import encodable, repr_of
from ..settings import SETTING_NAMES, Settings, check_setting_name
from .hidden import hidden

FILE_NAME = "streamcluster.toml"
PREFIX = "STREAMCLUSTER_"
# Variables with our prefix that are not settings: they choose the app, the file, or belong to tests.
PROCESS_VARIABLES = ("STREAMCLUSTER_APP", "STREAMCLUSTER_CONFIG")
PROCESS_VARIABLE_PREFIXES = ("STREAMCLUSTER_TEST_",)

# A configuration has a few lines; so much of a value that does not fit is repeated.
_FILE_BYTES_MAX = 1 << 20
_SHOWN_CHARS_MAX = 200
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_TYPES: dict[str, object] = dict(typing.get_type_hints(Settings))


def operator_settings(
    config_file: Path | None, environ: Mapping[str, str], command_line: Mapping[str, object]
) -> dict[str, object]:
    """Collect what the operator set; later sources win.

    Args:
        config_file: the file asked for; None: `streamcluster.toml` in the current directory, when there is one.
        environ: the environment; `STREAMCLUSTER_<SETTING>` sets a setting, an empty value counts as not set.
        command_line: setting -> value; None means that the option was not given.

    Returns:
        setting -> value of the setting's type, only for settings that somebody set.

    Raises:
        ConfigurationError: an unreadable file, an unknown name, or a value of the wrong type.
    """
    found: dict[str, object] = {}
    found.update(_from_file(config_file))
    found.update(_from_environment(environ))
    given = {name: value for name, value in command_line.items() if value is not None}
    for name, value in given.items():
        option = f"option --{name.replace('_', '-')}"
        check_setting_name(name, source=option)
        found[name] = _typed(name, value, source=option)
    return found


def parse_duration(text: str) -> float:
    """Read `25s`, `500ms`, `1m`, `2h`, `1d` or a plain number of seconds; return seconds.

    Raises:
        ValueError: none of these.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write 25s, 500ms, 1m, or a plain number of seconds")
    return float(match[1]) * _SECONDS[match[2]]


def _from_file(config_file: Path | None) -> dict[str, object]:
    """The settings of the file; a file that was not asked for need not exist."""
    path = config_file or Path(FILE_NAME)
    if config_file is None and not path.is_file():
        return {}
    try:
        with path.open("rb") as opened:
            data = opened.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot read the configuration file: {error.strerror}.") from error
    try:
        content = parse(lambda data: tomllib.loads(data.decode()), data, _FILE_BYTES_MAX)
    except Unreadable as error:
        raise ConfigurationError(f"{path}: not a TOML file: {error}.") from error
    for name in content:
        check_setting_name(name, source=str(path))
    return {name: _typed(name, value, source=str(path)) for name, value in content.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    """The settings of the environment."""
    found: dict[str, object] = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable in PROCESS_VARIABLES or text == "":
            continue
        if variable.startswith(PROCESS_VARIABLE_PREFIXES):
            continue
        name = variable.removeprefix(PREFIX).lower()
        source = f"environment variable {variable}"
        if name not in SETTING_NAMES:
            known = [PREFIX + setting.upper() for setting in SETTING_NAMES] + list(PROCESS_VARIABLES)
            near = difflib.get_close_matches(variable, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else " Unset it; docs/settings.md lists the settings."
            raise ConfigurationError(f"{source} is not a setting.{hint}")
        found[name] = _typed(name, text, source=source)
    return found


def _typed(name: str, value: object, *, source: str) -> object:
    """`value` as the type of setting `name`: text is parsed, everything is checked."""
    wanted = _TYPES[name]
    try:
        parsed = _parsed(value, wanted) if isinstance(value, str) else value
        return typing.cast(object, msgspec.convert(parsed, wanted))
    except (ValueError, RecursionError, OverflowError, msgspec.MsgspecError) as error:
        shown = repr_of(hidden(name, value))
        raise ConfigurationError(f"{source}: {name}={shown:.{_SHOWN_CHARS_MAX}} does not fit: {error}.") from error


def _parsed(text: str, wanted: object) -> object:
    """Text as the type `wanted` (bool, number, duration, JSON object, None where allowed), or the text itself."""
    if encodable(text) != text:
        raise ValueError("it is not text in UTF-8")
    choices = typing.get_args(wanted)
    if type(None) in choices and text.strip().lower() in ("none", "null"):
        return None
    plain = [choice for choice in choices if choice is not type(None)] if type(None) in choices else [wanted]
    if bool in plain:
        return _truth(text)
    if float in plain:
        return parse_duration(text)
    if int in plain:
        return int(text)
    if typing.get_origin(plain[0]) is dict:
        return msgspec.json.decode(text)
    return text


def _truth(text: str) -> bool:
    """A word as a bool."""
    word = text.strip().lower()
    if word not in _WORDS:
        raise ValueError(f"{text!r} is neither true nor false")
    return _WORDS[word]
