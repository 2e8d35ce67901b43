"""Commands about the whole cluster: drain, undrain, move, unpin, restart. They ask the leader, through any host of it.

The coordinator on this host hands the question on; what the leader decides, and how, is not known here.
"""

from __future__ import annotations

from contextlib import suppress

import click
import msgspec

from streamcluster.ids import SlotId, TaskId
from streamcluster.settings import is_host_name

from ..records.status import Ask
from .running import ask_leader
from .target import Target, json_option, print_json, say, targets_app

_WATCH = "`streamcluster status --watch` shows it."


def as_slot(_context: click.Context, parameter: click.Parameter, text: str) -> str:
    """Callback of an argument that is a slot. Whether there is one is the leader's to say."""
    try:
        slot = SlotId.parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param=parameter) from error
    return str(slot)


def as_place(context: click.Context, parameter: click.Parameter, text: str) -> str:
    """Callback of an argument that is a host or a slot."""
    if "/" in text:
        return as_slot(context, parameter, text)
    if not is_host_name(text):
        raise click.BadParameter(f"{text!r} cannot be the name of a host.", param=parameter)
    return text


def as_task(_context: click.Context, parameter: click.Parameter, text: str) -> str:
    """Callback of an argument that is a task."""
    with suppress(ValueError):
        task = TaskId.parse(text)
        if task.partition < task.group:
            return str(task)
    raise click.BadParameter(
        f"{text!r:.100} is not a task: write it as `streamcluster status` does, for example 8_3.", param=parameter
    )


@click.command(short_help="Move all tasks away from a host or a slot.")
@targets_app
@click.argument("place", metavar="HOST|SLOT", callback=as_place)
@json_option
def drain(target: Target, place: str, as_json: bool) -> int:
    """Move all tasks and standbys away from HOST or SLOT (written HOST/NUMBER), and place none there until `undrain`.

    Its workers go on running.
    """
    then = f"Its tasks move away, and none come until `streamcluster undrain {place}`. {_WATCH}"
    return _ask(target, Ask(kind="drain", target=place), then, as_json=as_json)


@click.command(short_help="Let a drained host or slot have tasks again.")
@targets_app
@click.argument("place", metavar="HOST|SLOT", callback=as_place)
@json_option
def undrain(target: Target, place: str, as_json: bool) -> int:
    """Let HOST or SLOT have tasks again after `drain`."""
    then = f"It gets its share as soon as it has the state, or a copy that is near. {_WATCH}"
    return _ask(target, Ask(kind="undrain", target=place), then, as_json=as_json)


@click.command(short_help="Move a task to a slot, and keep it there.")
@targets_app
@click.argument("task", callback=as_task)
@click.argument("slot", callback=as_slot)
@json_option
def move(target: Target, task: str, slot: str, as_json: bool) -> int:
    """Move TASK (for example 8_3) to SLOT (for example a/0), and keep it there until `unpin`."""
    then = f"It moves once its state is near there, and stays until `streamcluster unpin {task}`. {_WATCH}"
    return _ask(target, Ask(kind="move", target=slot, task=task), then, as_json=as_json)


@click.command(short_help="Let a task that was moved by hand go where it fits.")
@targets_app
@click.argument("task", callback=as_task)
@json_option
def unpin(target: Target, task: str, as_json: bool) -> int:
    """Let TASK go where it fits again, after `move`."""
    then = f"It stays where it is unless another place is better. {_WATCH}"
    return _ask(target, Ask(kind="unpin", task=task), then, as_json=as_json)


@click.command(short_help="Restart the workers of all hosts, one by one.")
@targets_app
@json_option
def restart(target: Target, as_json: bool) -> int:
    """Restart the workers of all hosts, one after the other. (SIGHUP does so on one host; neither reads code anew.)"""
    then = f"One worker of one host at a time is drained and replaced. {_WATCH}"
    return _ask(target, Ask(kind="restart"), then, as_json=as_json)


def _ask(target: Target, question: Ask, then: str, *, as_json: bool) -> int:
    """Put a question to the leader and show what it says. then: what happens next, when it agrees."""
    _, settings = target.load()
    answer = ask_leader(settings, question)
    if as_json:
        print_json({**msgspec.structs.asdict(question), **msgspec.structs.asdict(answer)})
    elif answer.error is None:
        said = answer.text.removesuffix(".") or f"{question.kind}: the leader has decided so"
        say(f"{said}. {then}")
    if answer.error is not None:
        say(f"streamcluster: {question.kind} is refused: {answer.error}", err=True)
        return 1
    return 0


COMMANDS = (drain, undrain, move, unpin, restart)
