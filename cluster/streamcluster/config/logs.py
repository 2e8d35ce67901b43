"""How log lines look: JSON lines when nobody watches, short text on a terminal. One set-up for coordinator and workers.

Users log with stdlib `logging` (or structlog) and need to do nothing. An app that configured the root logger itself
keeps its own handlers; then only streamcluster's own loggers are rendered here. It knows no process and no file.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Protocol

import msgspec
import structlog

from ..printable import (
    encodable,
    printable,
    printable_json,
    printable_lines,
    printable_message,
    repr_of,
    text_of,
    traceback_of,
)
from ..repeats import Repeats

EventDict = MutableMapping[str, object]
OWN_LOGGERS = ("streamcluster", "streamcluster_worker", "streamcluster_coordinator")
_NAME = "streamcluster"
_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m", "debug": "\x1b[2m"}
_RESET = "\x1b[0m"


class TextStream(Protocol):
    """Where lines go: stderr, or the terminal with its restore bar."""

    def write(self, text: str, /) -> int:
        """Take some text."""
        ...

    def flush(self) -> None:
        """Push it out."""
        ...


def configure_logging(
    log_format: str = "auto", log_level: str = "info", *, slot: int | None = None, stream: TextStream | None = None
) -> None:
    """Render all logging of this process; calling it again replaces what the last call set up.

    Args:
        log_format: "json", "text", or "auto": text when stderr is a terminal, JSON lines otherwise.
        log_level: "debug", "info", "warning" or "error".
        slot: the worker's slot, added to every line; None in the coordinator.
        stream: where the lines go; None is stderr.
    """
    terminal = sys.stderr.isatty()
    as_text = log_format == "text" or (log_format == "auto" and terminal)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.set_name(_NAME)
    handler.setFormatter(_formatter(as_text=as_text, colour=terminal and "NO_COLOR" not in os.environ, slot=slot))
    handler.addFilter(Repeats(OWN_LOGGERS, handler.handle))
    level = logging.getLevelName(log_level.upper())
    root = logging.getLogger()
    _remove_own(root)
    others = list(root.handlers)
    if not others:
        root.addHandler(handler)
        root.setLevel(level)
    for name in OWN_LOGGERS:
        logger = logging.getLogger(name)
        _remove_own(logger)
        logger.setLevel(level)
        logger.propagate = not others
        if others:
            logger.addHandler(handler)
    _configure_structlog()


def finish_logging() -> None:
    """Say what repeated lines were left out; at the end of a process."""
    for logger in map(logging.getLogger, ("", *OWN_LOGGERS)):
        for handler in logger.handlers:
            for one in handler.filters:
                if isinstance(one, Repeats):
                    one.tell_all()


def _remove_own(logger: logging.Logger) -> None:
    """Take our handler off; a forked worker inherits the coordinator's."""
    for handler in list(logger.handlers):
        if handler.get_name() == _NAME:
            logger.removeHandler(handler)


def _configure_structlog() -> None:
    """Send users' structlog loggers through stdlib, unless they set up structlog themselves."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _formatter(*, as_text: bool, colour: bool, slot: int | None) -> logging.Formatter:
    """The one formatter for stdlib and structlog records."""

    def add_slot(_logger: object, _method: str, event: EventDict) -> EventDict:
        if slot is not None:
            event["slot"] = slot
        return event

    def render_text(_logger: object, _method: str, event: EventDict) -> str:
        return text_line(event, colour=colour)

    def render_json(_logger: object, _method: str, event: EventDict) -> str:
        return json_line(event)

    render: Callable[[object, str, EventDict], str] = render_text if as_text else render_json
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
        ],
        processors=[
            add_slot,
            _add_time,
            _add_traceback,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            render,
        ],
    )


def _add_time(_logger: object, _method: str, event: EventDict) -> EventDict:
    """When the record was made (seconds since 1970)."""
    record = event.get("_record")
    event["ts"] = record.created if isinstance(record, logging.LogRecord) else time.time()
    return event


def _add_traceback(_logger: object, _method: str, event: EventDict) -> EventDict:
    """The traceback of the record's error, which is of users' classes and may say, or do, anything."""
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = traceback_of(error)
    return event


def json_line(event: EventDict) -> str:
    """One JSON object: ts (UTC), level, event, logger, slot when in a worker, then what the caller added."""
    fields = dict(event)
    seconds = fields.pop("ts")
    assert isinstance(seconds, float)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"
    ordered: dict[str, object] = {"ts": stamp, "level": fields.pop("level", "info"), "event": fields.pop("event", "")}
    ordered.update(fields)
    try:
        line = msgspec.json.encode(ordered, enc_hook=str)
    except Exception:  # noqa: BLE001 (values are others': lone surrogates, depth, a __str__ that raises; a line is said)
        line = msgspec.json.encode(
            {
                encodable(str(name)): encodable(one if isinstance(one, str) else repr_of(one))
                for name, one in ordered.items()
            }
        )
    return printable_json(line.decode())


def text_line(event: EventDict, *, colour: bool) -> str:
    """One line for people: local time, level unless it is info, worker, message, extra facts; then any traceback.

    Further lines of a message or a traceback are indented, so that no text of a record looks like a line of its own.
    """
    fields = dict(event)
    seconds = fields.pop("ts")
    assert isinstance(seconds, float)
    level = str(fields.pop("level", "info"))
    logger = str(fields.pop("logger", ""))
    slot = fields.pop("slot", None)
    traceback = fields.pop("exception", None)
    parts = [time.strftime("%H:%M:%S", time.localtime(seconds))]
    if level != "info":
        parts.append(f"{_COLOURS[level]}{level}{_RESET}" if colour and level in _COLOURS else printable(level))
    if slot is not None:
        parts.append(f"worker {slot}:")
    if logger and logger.partition(".")[0] not in OWN_LOGGERS:
        parts.append(f"{printable(logger)}:")
    parts.append(printable_message(text_of(fields.pop("event", ""))))
    parts += [printable(f"{name}={repr_of(value)}") for name, value in fields.items()]
    line = " ".join(parts)
    return f"{line}\n{printable_lines(str(traceback))}" if traceback else line
