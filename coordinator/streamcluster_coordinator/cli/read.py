"""Commands that only read: agents, topics, tables (from the code), table and status (from the running app)."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Iterable, Sequence
from typing import Any

import click
import msgspec

from streamcluster.app import App
from streamcluster.errors import AppError, ConfigurationError, StreamclusterError
from streamcluster.outside import Unreadable, parse
from streamcluster.printable import encodable, printable, printable_json, repr_of
from streamcluster.protocol.messages import UNREADABLE
from streamcluster.settings import Settings
from streamcluster.shown import ESCAPED, key_texts
from streamcluster.tables import Table
from streamcluster.topology import Declared, TableSpec
from streamcluster.topology.declare import freeze

from ..records.status import RowsAnswer
from ..records.status import as_json as status_as_json
from .running import NotRunning, ask_rows, ask_status
from .target import Target, json_option, print_json, say, targets_app
from .view import aligned, status_text
from .window_keys import has_windows, moment_of, window_keys

WATCH_SECONDS = 0.5


def declared(target: Target) -> tuple[App, Declared]:
    """The app and what its code declares; no broker is asked."""
    app, _ = target.load()
    return app, declaration(app, target.reference)


def declaration(app: App, reference: str) -> Declared:
    """What the code of the app declares.

    Raises:
        AppError: it fails when it is asked.
    """
    try:
        return asyncio.run(freeze(app))[1]
    except StreamclusterError:
        raise
    except Exception as error:
        text = f"-A {reference}: the code before an agent's first event failed: {repr_of(error)}"
        raise AppError(text) from error


def _show(header: Sequence[str], rows: Sequence[Sequence[str]], nothing: str) -> None:
    click.echo("\n".join(aligned(header, rows)) if rows else nothing)


@click.command(short_help="List the agents of an app.")
@targets_app
@json_option
def agents(target: Target, as_json: bool) -> int:
    """List the agents of the app."""
    _, found = declared(target)
    if as_json:
        print_json(found.agents)
        return 0
    rows = [
        (f"@{agent.name}", ", ".join(agent.topics), ", ".join(agent.tables) or "-", str(agent.concurrency), agent.help)
        for agent in found.agents
    ]
    _show(("AGENT", "READS", "TABLES", "CONCURRENCY", "WHAT IT DOES"), rows, "The app has no agents.")
    return 0


@click.command(short_help="List the topics of an app.")
@targets_app
@json_option
def topics(target: Target, as_json: bool) -> int:
    """List the topics of the app, its internal ones included."""
    _, found = declared(target)
    if as_json:
        print_json(found.topics)
        return 0
    rows = [
        (
            topic.name,
            topic.role.replace("_", " "),
            str(topic.partitions)
            if topic.partitions
            else (f"as {', '.join(topic.like)}" if topic.like else "as found"),
            "when missing" if topic.create else "never",
            ", ".join(topic.used_by) or "-",
        )
        for topic in found.topics
    ]
    _show(("TOPIC", "ROLE", "PARTITIONS", "CREATED", "USED BY"), rows, "The app has no topics.")
    return 0


@click.command(short_help="List the tables of an app.")
@targets_app
@json_option
def tables(target: Target, as_json: bool) -> int:
    """List the tables of the app."""
    _, found = declared(target)
    if as_json:
        print_json(found.tables)
        return 0
    rows = [(table.name, _log_of(table), ", ".join(table.sources) or "-", table.help) for table in found.tables]
    _show(("TABLE", "CHANGELOG", "FED BY", "WHAT IT HOLDS"), rows, "The app has no tables.")
    return 0


@click.command(short_help="Read a key or a page of rows of a table.")
@targets_app
@click.argument("name")
@click.argument("key", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Rows of a page.")
@click.option("--after", metavar="CURSOR", help="The next page: the cursor that the last one ended with.")
@click.option("--window", metavar="START[,END]", help="Of a windowed table: in seconds since 1970, or as a time.")
@click.option("--as-of", metavar="TIME", help="KEY as it was then, of a table with history=: as for --window.")
@json_option
def table(
    target: Target,
    name: str,
    key: str | None,
    limit: int,
    after: str | None,
    window: str | None,
    as_of: str | None,
    as_json: bool,
) -> int:
    """Read one KEY of a table, or a page of its rows, from the running app.

    KEY is plain text, or JSON for keys that are not text. A missing key ends with exit code 1. Any host may be asked:
    it asks the one that has the rows, or a standby when that one is away, and then says how far behind that may be.
    """
    app, settings = target.load()
    if name not in app.tables:
        near = difflib.get_close_matches(name, app.tables, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else f" It has: {', '.join(sorted(app.tables)) or 'none'}."
        raise AppError(f"the app has no table {name!r}.{hint}")
    if key is not None:
        keys = row_keys(app.tables[name], key, window)
        moment = None if as_of is None else moment_of(app.tables[name], as_of)
        return _show_key(settings, name, keys, as_of=moment, as_json=as_json)
    if as_of is not None:
        raise ConfigurationError("--as-of is of a KEY: streamcluster table NAME KEY --as-of TIME.")
    if window is not None:
        raise ConfigurationError("--window is of a KEY: streamcluster table NAME KEY --window START.")
    page = ask_rows(settings, name, after=after, rows_max=limit)
    if as_json:
        print_json({"table": name, "rows": [_as_json(*row) for row in page.rows], "after": page.after})
        return 0
    _show(
        ("KEY", "VALUE"),
        [(_plain(key), _as_text(value)) for key, value in page.rows],
        f"Table {name!r} is empty.",
    )
    _tell_of_escapes(text for row in page.rows for text in row)
    if page.after is not None:
        say(f"There are more rows: --after '{page.after}', or a larger --limit.", err=True)
    return 0


def row_keys(table: Table[Any, Any], text: str, window: str | None) -> list[str]:
    """The JSON texts of the row's key, the likelier first. Raises ConfigurationError: there are none of this table."""
    if window is None and has_windows(table):
        if not text.startswith("["):
            raise ConfigurationError(f"table {table.name!r} has windows: add --window START, or START,END.")
        return [text]
    keys = _key_texts(table, text)
    return keys if window is None else window_keys(table, keys, window)


def _key_texts(table: Table[Any, Any], text: str) -> list[str]:
    """The JSON texts that a KEY may mean, the likelier first. Raises ConfigurationError: none of this table."""
    if encodable(text) != text:
        raise ConfigurationError("KEY is not text in UTF-8: write other bytes as \\x and two digits, as pages do.")
    try:
        return key_texts(table.key_type, table.key_serializer, text)
    except ValueError as error:
        raise ConfigurationError(f"table {table.name!r}: KEY {error}.") from error


def _show_key(settings: Settings, name: str, keys: list[str], *, as_of: int | None, as_json: bool) -> int:
    answers = []
    for key in keys:
        answer = ask_rows(settings, name, key=key, as_of=as_of)
        answers.append(answer)
        if not answer.rows:
            continue
        _mark(answer)
        [(found, value)] = answer.rows
        if as_json:
            print_json({"table": name, **_as_json(found, value), "source": answer.source, "lag": answer.lag})
        elif not value.startswith(UNREADABLE):
            click.echo(_as_text(value))
            _tell_of_escapes([value])
        if value.startswith(UNREADABLE):
            raise ConfigurationError(f"table {name!r}, key {_plain(found)}: {_as_text(value)}")
        return 0
    _mark(answers[0])
    verb = "has" if as_of is None else "had then"
    say(f"streamcluster: table {name!r} {verb} no key {_plain(keys[0])}", err=True)
    return 1


def _mark(answer: RowsAnswer) -> None:
    """Say when it is not the owner's word."""
    if answer.lag is not None:
        say(f"from the standby {answer.source}, at most {answer.lag} changelog records behind", err=True)


def _as_json(key: str, value: str) -> dict[str, object]:
    """A row: its key, and its value or why that cannot be read; which of them have bytes that are no text."""
    escaped = [name for name, text in (("key", key), ("value", value)) if text.startswith(ESCAPED)]
    row: dict[str, object] = {"key": msgspec.Raw(key.strip().encode())}
    if value.startswith(UNREADABLE):
        row["error"] = value.removeprefix(UNREADABLE)
    else:
        row["value"] = msgspec.Raw(value.strip().encode())
    return {**row, "escaped": escaped} if escaped else row


def _as_text(value: str) -> str:
    if value.startswith(UNREADABLE):
        return f"cannot be read: {value.removeprefix(UNREADABLE)}"
    return printable_json(value.removeprefix(ESCAPED))


def _log_of(table: TableSpec) -> str:
    """The changelog of a table; of one that is made of a topic the brokers decide (`check`)."""
    return table.changelog if table.keeps or not table.source else f"{table.source}, if that is compacted"


def _tell_of_escapes(texts: Iterable[str]) -> None:
    if any(text.startswith(ESCAPED) for text in texts):
        say("bytes that are no text are shown as \\x and two digits, as KEY takes them", err=True)


def _plain(key: str) -> str:
    """A JSON key for people: text without its quotes."""
    try:
        decoded = parse(msgspec.json.decode, key.encode(), len(key) * 4)
    except Unreadable:
        # Deeper than this process reads; it is JSON.
        return key
    return decoded if isinstance(decoded, str) else key.removeprefix(ESCAPED)


@click.command(short_help="Show what a running app does.")
@targets_app
@json_option
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C; with --json one line each.")
def status(target: Target, as_json: bool, watch: bool) -> int:
    """Show what the running app does: workers, tasks, what is behind, restores, restarts and why."""
    _, settings = target.load()
    if watch:
        _watch(settings, as_json=as_json)
    elif as_json:
        print_json(status_as_json(ask_status(settings)))
    else:
        click.echo(status_text(ask_status(settings)))
    return 0


def _watch(settings: Settings, *, as_json: bool) -> None:
    """Until Ctrl-C; an app that goes away is waited for."""
    snapshot = ask_status(settings)
    if as_json:
        while True:
            click.echo(printable_json(msgspec.json.encode(status_as_json(snapshot)).decode()))
            time.sleep(WATCH_SECONDS)
            snapshot = ask_status(settings)
    # Not for every command: importing them takes a tenth of its start.
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    try:
        with Live(Text(status_text(snapshot)), console=Console(), auto_refresh=False, screen=True) as live:
            while True:
                time.sleep(WATCH_SECONDS)
                try:
                    text = status_text(ask_status(settings))
                except NotRunning as error:
                    text = f"{printable(str(error))}\nStill looking; Ctrl-C ends this."
                live.update(Text(text), refresh=True)
    except KeyboardInterrupt:
        return


COMMANDS = (agents, topics, tables, table, status)
