"""Log lines: JSON and text, users' loggers, tracebacks, and apps that configure logging themselves."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from streamcluster.config.logs import OWN_LOGGERS, configure_logging


@contextmanager
def bare_logging() -> Iterator[None]:
    """Logging is global to the process: take pytest's handlers away for the test, and put everything back."""
    root = logging.getLogger()
    before = list(root.handlers)
    level = root.level
    root.handlers.clear()
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        for name in OWN_LOGGERS:
            own = logging.getLogger(name)
            own.handlers.clear()
            own.setLevel(logging.NOTSET)
            own.propagate = True


@bare_logging()
def test_json_lines_carry_time_level_event_and_the_facts() -> None:
    """Each record is one JSON object with what the caller added."""
    stream = io.StringIO()
    configure_logging("json", "info", slot=3, stream=stream)

    logging.getLogger("shop.orders").warning("only %d left", 2, extra={"sku": "a1"})

    line = json.loads(stream.getvalue())
    assert line.pop("ts").endswith("Z")
    assert line == {"level": "warning", "event": "only 2 left", "logger": "shop.orders", "slot": 3, "sku": "a1"}


@bare_logging()
def test_text_lines_are_short() -> None:
    """Time, worker, the user's logger and the message; no level for info."""
    stream = io.StringIO()
    configure_logging("text", "info", slot=1, stream=stream)

    logging.getLogger("shop").info("hello")
    logging.getLogger("streamcluster").error("bad")

    first, second = stream.getvalue().splitlines()
    assert first[8:] == " worker 1: shop: hello"
    assert second[8:] == " error worker 1: bad"


@pytest.mark.parametrize("log_format", ["json", "text"])
@bare_logging()
def test_tracebacks_are_kept(log_format: str) -> None:
    """`logger.exception` shows where it happened."""
    stream = io.StringIO()
    configure_logging(log_format, "info", stream=stream)

    try:
        raise KeyError("absent")
    except KeyError:
        logging.getLogger("shop").exception("lookup")

    assert "KeyError: 'absent'" in stream.getvalue()
    assert "test_logs.py" in stream.getvalue()


@bare_logging()
def test_the_level_hides_what_is_below() -> None:
    """`--log-level warning` drops info lines."""
    stream = io.StringIO()
    configure_logging("json", "warning", stream=stream)

    logging.getLogger("shop").info("quiet")
    logging.getLogger("streamcluster").info("quiet")

    assert stream.getvalue() == ""


@bare_logging()
def test_an_app_that_configured_logging_keeps_its_handlers() -> None:
    """The user's root handler gets the user's records, ours gets ours, none is written twice."""
    theirs, ours = io.StringIO(), io.StringIO()
    logging.basicConfig(stream=theirs, format="theirs %(message)s", level="INFO")
    configure_logging("text", "info", stream=ours)

    logging.getLogger("shop").info("user")
    logging.getLogger("streamcluster").info("own")

    assert theirs.getvalue() == "theirs user\n"
    assert ours.getvalue()[8:] == " own\n"


@bare_logging()
def test_configuring_again_replaces_the_handler() -> None:
    """A forked worker that calls it again does not write each line twice."""
    first, second = io.StringIO(), io.StringIO()
    configure_logging("text", "info", stream=first)
    configure_logging("text", "info", slot=0, stream=second)

    logging.getLogger("streamcluster").info("once")

    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_structlog_users_get_the_same_lines() -> None:
    """A structlog logger is rendered by the same formatter, bound values included."""
    program = (
        "import structlog; from streamcluster.config.logs import configure_logging; configure_logging('auto');"
        "structlog.get_logger('shop').bind(sku='a1').info('sold', amount=2)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)

    line = json.loads(done.stderr)
    assert (line["event"], line["sku"], line["amount"], line["level"]) == ("sold", "a1", 2, "info")
    assert done.stdout == ""


class Unshowable:
    """A value of a user whose text cannot be had."""

    def __repr__(self) -> str:
        raise ValueError("no")


def logged(log_format: str, event: str, **facts: object) -> str:
    """What is written of a line, with the traceback of an error whose text is the same."""
    stream = io.StringIO()
    with bare_logging():
        configure_logging(log_format, "info", stream=stream)
        try:
            raise ValueError(event)
        except ValueError:
            logging.getLogger("streamcluster").exception("%s", event, extra=facts)
    return stream.getvalue()


def test_no_text_forges_a_line_of_the_log() -> None:
    """Each line but the first is indented, and no control but a line's end is left: nothing looks like our own word."""
    text = logged("text", "bad\n09:00:00 shop is running fine\r\x1b[2J\x9b2J\x7f", key="\x1b]0;x\x07")
    first, *others = text.removesuffix("\n").split("\n")
    assert first[8:] == r" error bad"
    assert "  09:00:00 shop is running fine" in text
    assert all(line.startswith("  ") for line in others)
    assert not [one for one in text if unicodedata.category(one) == "Cc" and one != "\n"]


def test_json_lines_hold_no_control() -> None:
    """C1 and DEL too are escapes in JSON, which readers turn back."""
    text = logged("json", "a\x9b2J\x7fb")
    assert json.loads(text)["event"] == "a\x9b2J\x7fb"
    assert not [one for one in text.removesuffix("\n") if unicodedata.category(one) == "Cc"]


def nested() -> object:
    """Deeper than encoders go."""
    value: object = 1
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("fact", ["\ud800", Unshowable(), {"a": "\udfff"}, 2**70, float("nan"), nested()])
def test_what_cannot_be_encoded_costs_no_line(
    log_format: str, fact: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lone surrogates, depth, a repr that raises: the line is written, says its message, and can be encoded."""
    text = logged(log_format, "it is \ud800", fact=fact)
    text.encode()
    assert "it is \\ud800" in text.replace("\\\\", "\\")
    assert "Logging error" not in capsys.readouterr().err
