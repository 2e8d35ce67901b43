"""What people and operators write and read: rows of tables, records of stores, settings, arguments, log lines, ids."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import re
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import msgspec

from streamcluster import App, Record
from streamcluster.codecs.coding import explain, make_decoder
from streamcluster.codecs.table_coding import make_table_coder
from streamcluster.config.configuration import operator_settings, parse_duration
from streamcluster.config.logs import json_line, text_line
from streamcluster.config.security import connection_config
from streamcluster.errors import ConfigurationError
from streamcluster.ids import SlotId, TaskId
from streamcluster.outside import Unreadable, parse
from streamcluster.printable import text_of
from streamcluster.protocol.messages import UNREADABLE
from streamcluster.settings import address_of, is_host_name, make_settings
from streamcluster.shown import key_reader
from streamcluster_coordinator import cli
from streamcluster_coordinator.cli import hosts as cli_hosts
from streamcluster_coordinator.shell.notify import take_over_notifications
from streamcluster_coordinator.shell.presentation import make_presentation
from streamcluster_worker.answers import queries
from streamcluster_worker.state.record import identity, read_identity, read_offset
from streamcluster_worker.state.store_errors import CorruptStore

from .mutating import JSON
from .rows import Row

ROW_BYTES_MAX = 1 << 20
# C0, DEL, C1 and what ends lines elsewhere.
ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202e]")
HERE = Path("store")


class Order(Record):
    """As users declare one."""

    account: str
    amount: int
    tags: tuple[str, ...] = ()


# Types and serializers of keys and values, and bytes that they take.
CODED: tuple[tuple[Any, str | None, bytes], ...] = (
    (None, None, b'{"a": [1, 2.5, null, "x"]}'),
    (int, None, b"5"),
    (bytes, None, b"\x00\xff"),
    (Order, None, b'{"account": "ann", "amount": 5, "tags": ["x"]}'),
    (Decimal, "raw", b"1.50"),
    (None, "binary", b"YW5u"),
    (None, "json|gzip", gzip.compress(b'{"a": 1}', mtime=0)),
    (tuple[str, int], None, b'["ann", 5]'),
)


def row_of_a_table(type_: Any, serializer: str | None) -> Callable[[bytes], None]:
    """A row as `table` shows it, and a key as it is asked for."""
    key = make_table_coder(type_, serializer, allow_pickle=False, is_key=True)
    value = make_table_coder(type_, serializer, allow_pickle=False)
    read = key_reader(type_, serializer)

    def keys(text: bytes) -> list[bytes]:
        return [key[0](one) for one in read(text)]

    coder = queries._Coder(keys, key[1], value[1])

    def check(data: bytes) -> None:
        for text in queries.shown_row(data, data, coder, ROW_BYTES_MAX):
            text.encode()
            if not text.startswith(UNREADABLE):
                json.loads(text)
        with contextlib.suppress(Unreadable):
            assert parse(keys, data, ROW_BYTES_MAX)

    return check


def decoded(type_: Any, serializer: str | None) -> Callable[[bytes], None]:
    """A record or an entry: a value, or an error that can be explained in one line."""
    decode = make_decoder(type_, serializer, default_serializer="json", allow_pickle=False)

    def check(data: bytes) -> None:
        try:
            decode(data)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is explained)
            is_line(explain(error, data))

    return check


def is_line(text: str) -> None:
    """Nothing in it acts, and it can be encoded."""
    text.encode()
    assert ACTING.search(text) is None, repr(text)


def store_record(data: bytes) -> None:
    """What a store says of itself."""
    with contextlib.suppress(CorruptStore):
        assert len(read_identity(HERE, data).task) <= len(data)
    with contextlib.suppress(CorruptStore):
        assert 0 <= read_offset(HERE, "seen", data) < 10**19


def configuration(data: bytes) -> None:
    """A configuration file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "streamcluster.toml"
        path.write_bytes(data)
        with contextlib.suppress(ConfigurationError):
            settings = make_settings({"id": "shop", **operator_settings(path, {}, {})})
            connection_config(settings, {})
            repr(settings).encode()


def environment(data: bytes) -> None:
    """Variables, as a JSON object."""
    try:
        tree = json.loads(os.fsdecode(data))
    except (ValueError, RecursionError):
        tree = {"STATE_DIR": os.fsdecode(data)}
    pairs = tree.items() if isinstance(tree, dict) else ()
    environ = {f"STREAMCLUSTER_{name}": text_of(text).replace("\0", "") for name, text in pairs}
    with contextlib.suppress(ConfigurationError):
        settings = make_settings({"id": "shop", **operator_settings(None, environ, {})})
        connection_config(settings, {})


# Commands that change nothing, whatever follows them.
SAFE = ("table", "status", "move", "drain", "undrain", "unpin", "agents", "tables", "topics")


@contextmanager
def fuzz_shop() -> Iterator[None]:
    """An app that the command line can import; what it prints is looked at."""
    app = App("fuzz-shop", broker="kafka://127.0.0.1:1", connect_timeout=0.1)
    app.Table("totals", default=int)
    app.Table("counts", default=int, key_type=int)
    module = types.ModuleType("fuzz_shop")
    module.app = app  # type: ignore[attr-defined]
    sys.modules["fuzz_shop"] = module
    try:
        yield
    finally:
        del sys.modules["fuzz_shop"]


def arguments(data: bytes) -> None:
    """A command line, as a JSON list: exit code and message, no traceback and no fault of ours."""
    try:
        tree = json.loads(os.fsdecode(data))
    except (ValueError, RecursionError):
        tree = [os.fsdecode(data)]
    words = [text_of(word) for word in tree] if isinstance(tree, list) else [text_of(tree)]
    words = [word.replace("\0", "") for word in words if word not in ("-A", "--app", "--watch")]
    if not words or words[0] not in SAFE:
        words = ["table", *words]
    with fuzz_shop(), tempfile.TemporaryDirectory() as folder:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.run(["-A", "fuzz_shop:app", *words, *(() if "--help" in words else ("--state-dir", folder))])
        assert isinstance(code, int)
        assert "Traceback" not in err.getvalue()
        assert "fault of streamcluster" not in err.getvalue(), err.getvalue()
        for line in (out.getvalue() + err.getvalue()).split("\n"):
            is_line(line)


def notification(data: bytes) -> None:
    """$NOTIFY_SOCKET and $WATCHDOG_USEC, which a service manager sets."""
    text = os.fsdecode(data).replace("\0", "")
    socket, _, interval = text.partition(" ")
    with contextlib.redirect_stderr(io.StringIO()) as err:
        presenter = make_presentation("text", "info")
        take_over_notifications(presenter, {"NOTIFY_SOCKET": socket, "WATCHDOG_USEC": interval})
    for line in err.getvalue().split("\n"):
        is_line(line)


def log_line(data: bytes) -> None:
    """A line of the log, with facts out of what somebody has sent."""
    text = data.decode(errors="surrogateescape")
    facts: dict[str, object] = {"ts": 1.5, "level": "info", "event": text, "exception": text, text or "x": text}
    with contextlib.suppress(ValueError, RecursionError):
        facts["fact"] = json.loads(text)
    line = json_line(facts)
    is_line(line)
    msgspec.json.decode(line)
    first, *others = text_line(facts, colour=False).split("\n")
    for one in (first, *(other.replace("\t", "") for other in others)):
        is_line(one.replace("\t", ""))
    assert all(other.startswith("  ") for other in others)


def identifier(data: bytes) -> None:
    """Ids, addresses, durations, names of hosts and cursors."""
    text = data.decode(errors="surrogateescape")
    for read in (SlotId.parse, TaskId.parse, address_of, parse_duration, queries._read_cursor):
        with contextlib.suppress(ValueError):
            read(text)
    is_host_name(text)
    context, parameter = click.Context(cli.command_line), click.Argument(["x"])
    for callback in (cli_hosts.as_slot, cli_hosts.as_place, cli_hosts.as_task):
        with contextlib.suppress(click.BadParameter):
            callback(context, parameter, text)


ORDERS = (
    b'["table", "totals", "ann", "--after", "3:2_0,InJvdyI=", "--limit", "20"]',
    b'["table", "counts", "5", "--json"]',
    b'["status", "--json"]',
    b'["move", "8_3", "a/0"]',
    b'["drain", "a"]',
    b'["agents"]',
    b'["topics", "--json"]',
)
VARIABLES = (
    b'{"WORKERS": "4", "BROKER_OPTIONS": "{\\"fetch.wait.max.ms\\": 7}", "DRAIN_TIMEOUT": "25s", "RACK": "r1"}',
    b'{"ALLOW_PICKLE": "yes", "STATE_DIR": "/var/lib/x", "SASL_MECHANISM": "PLAIN", "SASL_PASSWORD_FILE": "/etc/x"}',
)
TOML = (
    b'workers = 4\ndrain_timeout = "25s"\nrack = "r1"\nallow_pickle = false\n'
    b'[broker_options]\n"fetch.wait.max.ms" = 7\n',
    b'sasl_mechanism = "PLAIN"\nsasl_username = "ann"\nsasl_password_file = "/etc/hostname"\nhost = "a"\n',
)
ROWS = [
    *(
        Row(f"table-row-{number}", [data], None if serializer else JSON, row_of_a_table(type_, serializer))
        for number, (type_, serializer, data) in enumerate(CODED)
        if type_ is not bytes
    ),
    *(
        Row(f"decoded-{number}", [data], None if serializer or type_ is bytes else JSON, decoded(type_, serializer))
        for number, (type_, serializer, data) in enumerate(CODED)
    ),
    Row("table-row-bytes", [b"\x00\xff", b'"a\\\\xff"'], None, row_of_a_table(bytes, None)),
    Row("store-record", [msgspec.json.encode(identity("shop", "c-1", TaskId(4, 1)))], JSON, store_record),
    Row("store-offset", [b"5", b"123456789"], None, store_record),
    Row("toml", TOML, None, configuration),
    Row("environment", VARIABLES, JSON, environment),
    Row("arguments", ORDERS, JSON, arguments),
    Row("notify", [b"/run/notify 30000000", b"@abstract 5"], None, notification),
    Row("log-line", [b'{"a": [1, "x"]}', b'"two\\nlines"'], JSON, log_line),
    Row("log-text", [b"plain text\nof two lines", b"\tTraceback"], None, log_line),
    Row("identifier", [b"a/0", b"2_1", b"host:9092", b"[::1]:1", b"25s", b"2_0,InJvdyI="], None, identifier),
]
