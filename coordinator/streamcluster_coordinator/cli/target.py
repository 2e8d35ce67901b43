"""What commands share: which app they are about, what the operator set, option types, and how answers are printed.

It decides precedence of `-A` (after the command, before it, $STREAMCLUSTER_APP) and knows no command.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from streamcluster.app import App
from streamcluster.config.configuration import operator_settings, parse_duration
from streamcluster.config.loading import load_app
from streamcluster.errors import ConfigurationError, StreamclusterError
from streamcluster.printable import printable_json, printable_message
from streamcluster.settings import SETTING_NAMES, Settings, make_settings

from .standard_streams import drop_output

APP_VARIABLE = "STREAMCLUSTER_APP"
CONFIG_VARIABLE = "STREAMCLUSTER_CONFIG"
# Seconds that a command other than `start` waits for a broker when no connect time-out is set.
COMMAND_CONNECT_TIMEOUT = 10.0


class Target(msgspec.Struct, frozen=True):
    """The app that a command is about. overrides: the operator's settings, which beat those of the code."""

    reference: str
    overrides: dict[str, object]

    def load(self) -> tuple[App, Settings]:
        """Import the app and join its settings with the operator's."""
        app = load_app(self.reference)
        app.conf = make_settings({**app.keywords, **self.overrides}, source=f"-A {self.reference}")
        return app, app.conf


def targets_app(command: Callable[..., int]) -> Callable[..., int]:
    """Decorate a command: it gets `target` in place of the options -A, --broker, --config and --state-dir."""

    @click.option("-A", "--app", "reference", metavar="MODULE:APP", help="The app. Also from $STREAMCLUSTER_APP.")
    @click.option("--broker", metavar="URL", help="Kafka brokers, for example kafka://host:9092;other:9092.")
    @click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="Default: ./streamcluster.toml.")
    @click.option("--state-dir", metavar="DIR", help="Where state and the control socket live.")
    @functools.wraps(command)
    def with_target(
        reference: str | None, broker: str | None, config: Path | None, state_dir: str | None, **options: Any
    ) -> int:
        before = click.get_current_context().find_root().params.get("reference")
        chosen = reference or before or os.environ.get(APP_VARIABLE)
        if not chosen:
            raise click.UsageError("which app? Add -A module:app, for example -A shop:app, or set $STREAMCLUSTER_APP.")
        # Options of a command that are named like a setting (--workers, --drain-timeout) are settings.
        set_here = {name: options.pop(name) for name in list(options) if name in SETTING_NAMES}
        overrides = chosen_settings(config, {"broker": broker, "state_dir": state_dir, **set_here})
        return command(target=Target(chosen, overrides), **options)

    return with_target


def chosen_settings(config: Path | None, command_line: Mapping[str, object]) -> dict[str, object]:
    """The operator's settings; the file may also be named by $STREAMCLUSTER_CONFIG."""
    named = os.environ.get(CONFIG_VARIABLE)
    return operator_settings(config or (Path(named) if named else None), os.environ, command_line)


def as_seconds(_context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Callback of options that take a duration: 25s, 500ms, 1m or plain seconds."""
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param=parameter) from error


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON (shapes: docs/cli.md).")


def print_json(answer: object) -> None:
    """One JSON document on stdout."""
    document = msgspec.json.encode(answer, enc_hook=str)
    # A value of a table may be deeper than what lays it out goes.
    with contextlib.suppress(RecursionError):
        document = msgspec.json.format(document, indent=2)
    click.echo(printable_json(document.decode()))


def say(text: str, *, err: bool = False) -> None:
    """One message for people, or several lines that each are one already: all that a command says passes here."""
    click.echo(printable_message(text), err=err)


def client_timeout(overrides: Mapping[str, object], settings: Settings) -> float:
    """Seconds to wait for a broker: as the operator set it, else shorter than what `start` grants."""
    return settings.connect_timeout if "connect_timeout" in overrides else COMMAND_CONNECT_TIMEOUT


def complain(error: StreamclusterError) -> int:
    """One message on stderr, after the traceback of an app that does not import; return the exit code.

    The code says it too, so that nobody reads the message is no error of its own.
    """
    traceback = getattr(error, "traceback", None)
    kind = "configuration" if isinstance(error, ConfigurationError) else "error"
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    try:
        if isinstance(traceback, str):
            say(traceback, err=True)
        say(f"streamcluster: {kind}: {error}", err=True)
    except OSError:
        drop_output()
    return int(error.exit_code)
