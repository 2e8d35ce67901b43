"""Commands that change something: send one record; reset an app's local state, offsets and internal topics."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec

from streamcluster.app import App
from streamcluster.codecs.coding import make_decoder
from streamcluster.errors import AppError, ConfigurationError
from streamcluster.kafka.config import client_config
from streamcluster.printable import text_of
from streamcluster.settings import Settings
from streamcluster.topics import Topic

from ..admin.client import delete_group, delete_topics, partition_count, reach, send_record
from ..shell.directory import instance_lock, remove_state, state_entries
from .read import declaration
from .running import directory_of
from .target import Target, client_timeout, json_option, print_json, say, targets_app

# How much of a value that does not fit is repeated.
_SHOWN_CHARS_MAX = 200


@click.command(short_help="Send one record to a topic or an agent.")
@targets_app
@click.argument("entity", metavar="TOPIC|@AGENT")
@click.argument("value", required=False)
@click.option("-k", "--key", help="The key; without one the record goes to a random partition.")
@click.option("--partition", type=click.IntRange(min=0), help="Default: the key decides, as in all Kafka clients.")
@click.option("--null", "tombstone", is_flag=True, help="Send a null value (a tombstone) in place of VALUE.")
@json_option
def send(
    target: Target,
    entity: str,
    value: str | None,
    key: str | None,
    partition: int | None,
    tombstone: bool,
    as_json: bool,
) -> int:
    """Send one record to a topic or an agent of the app, encoded as the app declares it, and wait until Kafka has it.

    VALUE and KEY are JSON for typed and plain topics, and taken as they are for str and bytes.
    """
    if (value is None) != tombstone:
        raise click.UsageError("give either VALUE or --null.")
    app, settings = target.load()
    topic = find_topic(app, entity)
    topic.compile(settings)
    data = None if value is None else encoded(topic, value, settings, part="value")
    key_data = None if key is None else encoded(topic, key, settings, part="key")
    config = client_config(settings)
    timeout = client_timeout(target.overrides, settings)
    _check_partition(reach(config, timeout), topic.name, partition, settings, timeout)
    found_partition, offset = send_record(config, topic.name, key_data, data, partition=partition, timeout=timeout)
    if as_json:
        print_json({"topic": topic.name, "partition": found_partition, "offset": offset})
    else:
        say(f"{topic.name}[{found_partition}]@{offset}")
    return 0


def _check_partition(admin: Any, topic: str, partition: int | None, settings: Settings, timeout: float) -> None:
    """Refuse a missing topic, which the broker might create, and a missing partition, which would time out."""
    partitions = partition_count(admin, topic, timeout)
    if partitions is None:
        raise ConfigurationError(
            f"topic {topic!r} does not exist at {settings.broker}. `streamcluster start` creates it when the app "
            "declares partitions=; otherwise create it first."
        )
    if partition is not None and partition >= partitions:
        raise ConfigurationError(f"topic {topic!r} has partitions 0 to {partitions - 1}: there is no {partition}.")


def find_topic(app: App, entity: str) -> Topic:
    """The topic that `entity` names: `name`, or `@agent` (its whole name, or the last part when that is unique).

    Raises:
        AppError: there is none, with the nearest name.
    """
    if not entity.startswith("@"):
        by_name = {name: topic for topic in app.topics for name in topic.names}
        if entity in by_name:
            # A topic with several names sends to its first; here the operator's choice decides.
            return replace(by_name[entity], names=(entity,))
        raise AppError(f"the app has no topic {entity!r}.{_near(entity, list(by_name))}")
    name = entity[1:]
    matching = [agent for agent in app.agents.values() if name == agent.name or agent.name.endswith(f".{name}")]
    if len(matching) == 1:
        return matching[0].topic
    if matching:
        raise AppError(f"{entity!r} fits {', '.join(sorted(agent.name for agent in matching))}: give the whole name.")
    names = [*app.agents, *(agent.rpartition(".")[2] for agent in app.agents)]
    raise AppError(f"the app has no agent {name!r}.{_near(name, names)}")


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" It has: {', '.join(sorted(set(known)))}." if known else " It has none."


def encoded(topic: Topic, text: str, settings: Settings, *, part: str) -> bytes | None:
    """Text of the command line as the bytes that the app itself would send.

    Raises:
        ConfigurationError: the text does not fit the topic's type.
    """
    is_key = part == "key"
    kind = topic.key_type if is_key else topic.value_type
    encode = topic.coders.encode_key if is_key else topic.coders.encode_value
    try:
        return encode(_as_type(kind, text, plain_text=is_key))
    except Exception as error:
        # Types and codecs are the app's, and decoders raise more than one class.
        shown = f"{text!r:.{_SHOWN_CHARS_MAX}}"
        raise ConfigurationError(f"topic {topic.name!r}: the {part} {shown} does not fit: {text_of(error)}.") from error


def _as_type(kind: Any, text: str, *, plain_text: bool) -> object:
    """Text as a value of type `kind`; untyped values are JSON where they look like it, untyped keys plain text."""
    if kind is str:
        return text
    if kind is bytes:
        return text.encode()
    if kind is not None:
        decode = make_decoder(kind, "json", default_serializer="json", allow_pickle=False)
        return decode(text.encode())
    if plain_text:
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


class Removal(msgspec.Struct, frozen=True):
    """What a reset removes. entries: of the state directory; group: whose offsets; topics: internal ones."""

    directory: Path
    entries: tuple[Path, ...]
    group: str | None
    topics: tuple[str, ...]

    def lines(self) -> list[str]:
        """For the question before, in words."""
        return [
            f"local state in {self.directory}: {', '.join(map(_entry, self.entries)) or 'nothing is there'}",
            *([f"the committed offsets of group {self.group}: inputs are read from their start"] if self.group else []),
            *(f"topic {name} with all its records" for name in self.topics),
        ]


def _entry(path: Path) -> str:
    return f"{path.name} (a link; what it leads to stays)" if path.is_symlink() else path.name


@click.command(short_help="Remove the state of an app that does not run.")
@targets_app
@click.option("--offsets", is_flag=True, help="Also forget how far the inputs were read.")
@click.option(
    "--topics", is_flag=True, help="Also delete the app's internal topics: changelogs and repartition topics."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def reset(target: Target, offsets: bool, topics: bool, yes: bool, as_json: bool) -> int:
    """Remove the local state of an app that does not run; when asked, also its offsets and internal topics.

    \b
    alone               tables come back from their changelog topics at the next start
    --offsets --topics  the app starts from nothing: empty tables, inputs from their start
    --offsets           inputs are read again into tables that keep their entries: counts double
    --topics            tables are lost, and inputs go on where they were
    """
    app, settings = target.load()
    directory = directory_of(settings)
    with instance_lock(directory):
        removal = Removal(
            directory=directory,
            entries=tuple(state_entries(directory)),
            group=settings.app_id if offsets else None,
            topics=_internal_topics(app, target.reference) if topics else (),
        )
        if not yes:
            say("This removes:\n  " + "\n  ".join(removal.lines()), err=True)
            click.confirm("Go on?", abort=True, err=True)
        removed = _remove(removal, settings, client_timeout(target.overrides, settings))
    if as_json:
        print_json(removed)
    else:
        for what, names in removed.items():
            say(f"removed {what}: {', '.join(names) or 'nothing was there'}")
    return 0


def _internal_topics(app: App, reference: str) -> tuple[str, ...]:
    found = declaration(app, reference)
    return tuple(sorted(topic.name for topic in found.topics if topic.role in ("changelog", "repartition")))


def _remove(removal: Removal, settings: Settings, timeout: float) -> dict[str, list[str]]:
    """Do it, brokers first: when they do not answer, nothing has been removed. Returns what was really there."""
    removed: dict[str, list[str]] = {}
    if removal.group or removal.topics:
        admin = reach(client_config(settings), timeout)
        if removal.group:
            removed["offsets"] = [removal.group] if delete_group(admin, removal.group, timeout) else []
        if removal.topics:
            removed["topics"] = delete_topics(admin, removal.topics, timeout)
    for path in removal.entries:
        try:
            remove_state(path)
        except OSError as error:
            raise ConfigurationError(f"{error.filename or path} cannot be removed: {error.strerror}.") from error
    return {"state": [str(path) for path in removal.entries], **removed}


COMMANDS = (send, reset)
