"""The `streamcluster` command: its groups of commands, and the one place where errors become messages and exit codes.

Never a traceback but that of a user's app that does not import. What commands do is in the other cli files.
"""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click

from streamcluster.causes import cause_of
from streamcluster.errors import ConfigurationError, StreamclusterError
from streamcluster.printable import printable, repr_of

from .standard_streams import drop_output, prepare_streams
from .target import complain

INTERRUPTED = 130
FRAMES_SHOWN = 6
# File of this folder -> its commands.
COMMANDS = {
    "start": ("start", "check"),
    "kafka": ("broker", "demo"),
    "read": ("agents", "topics", "tables", "table", "status"),
    "hosts": ("drain", "undrain", "move", "unpin", "restart"),
    "act": ("send", "reset"),
    "rights": ("rights",),
    "systemd": ("systemd", "systemd-template"),
}


class InternalError(StreamclusterError):
    """A fault of streamcluster itself, with the places that its developers need."""

    def __init__(self, error: Exception) -> None:
        text = f"this is a fault of streamcluster, please report it: {repr_of(error)}"
        super().__init__(f"{text} (at {_places(error)})")


class RefusedBySystem(ConfigurationError):
    """What we asked of the machine and did not get, where nobody nearer has a better word for it."""

    def __init__(self, error: Exception, cause: str) -> None:
        unnamed = "a file, a socket or the standard output" if isinstance(error, OSError) else "a thread"
        what = getattr(error, "filename", None) or unnamed
        super().__init__(f"{what}: {cause} (at {_places(error)})")


def _places(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_SHOWN:]
    return ", ".join(f"{Path(*Path(frame.filename).parts[-2:])}:{frame.lineno}" for frame in frames)


def _show_version(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if not asked or context.resilient_parsing:
        return
    # Not for every command: importing it and looking through all that is installed takes a tenth of its start.
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("streamcluster")
    except PackageNotFoundError:
        found = "unknown (not installed)"
    click.echo(f"streamcluster, version {found}")
    context.exit()


class _Commands(click.Group):
    """Imports a command when it is asked for: all of them, and the coordinator, take most of a short one's time."""

    def list_commands(self, context: click.Context) -> list[str]:
        del context
        return sorted(name for names in COMMANDS.values() for name in names)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        file = next((file for file, names in COMMANDS.items() if name in names), None)
        if file is None:
            return super().get_command(context, name)
        commands: tuple[click.Command, ...] = import_module(f".{file}", __package__).COMMANDS
        return next(command for command in commands if command.name == name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("-A", "--app", "reference", metavar="MODULE:APP", help="The app, for all commands below.")
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version and exit.",
)
def command_line(reference: str | None) -> None:
    """Stream processing for Python on Kafka: agents, tables, exactly once.

    \b
    streamcluster demo                        see it work on 336,776 real flights
    streamcluster broker                      a real Kafka on this machine
    streamcluster start -A shop:app           run your app, one worker per core
    streamcluster status -A shop:app --watch  what it does now

    Exit codes: 0 done; 2 usage; 65 state incompatible; 69 broker unreachable, or the app is not running; 70 gave up
    after crashes; 75 drain deadline hit, or a table's task moves; 76 fenced by another coordinator; 78 configuration
    or app error.
    """
    # `reference` is read by cli_target, from the context.
    del reference


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    output = sys.stdout
    try:
        answer = command_line.main(args=list(arguments), prog_name="streamcluster", standalone_mode=False)
    except StreamclusterError as error:
        return complain(error)
    except click.ClickException as error:
        text = io.StringIO()
        error.show(file=text)
        click.echo("\n".join(map(printable, text.getvalue().splitlines())), err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("streamcluster: interrupted", err=True)
        return INTERRUPTED
    except SystemExit:
        if sys.stdout is output:
            raise
        # Click has found the reader of our output (`| head`) gone: nobody is left to tell, and that is no error.
        drop_output()
        return 0
    except Exception as error:  # noqa: BLE001 (the boundary of commands: the machine refuses, or a mistake of ours)
        cause = cause_of(error)
        code = complain(InternalError(error) if cause is None else RefusedBySystem(error, cause))
        if isinstance(error, OSError):
            # It may be the output that was refused.
            drop_output()
        return code
    return answer if isinstance(answer, int) else 0


def main() -> NoReturn:
    """The console script, and `python -m streamcluster`."""
    prepare_streams()
    sys.exit(run(sys.argv[1:]))


def run_for_app(reference: str) -> NoReturn:
    """The same command line with `-A` set: what `app.main()` calls."""
    prepare_streams()
    sys.exit(run(["-A", reference, *sys.argv[1:]]))
