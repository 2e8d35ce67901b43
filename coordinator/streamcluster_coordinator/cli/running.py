"""Asks the running app over its control socket: its status, rows of its tables, what its leader decides.

For commands and the demo. It decides what "not running" means to the asker; the socket and its place are decided in ops
and instance.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from streamcluster.errors import ConfigurationError, ExitCode, StreamclusterError, TryAgain
from streamcluster.protocol.wire import FrameError
from streamcluster.settings import Settings

from ..answers.control_socket import ask
from ..records.status import LEADER_SECONDS, Answer, Ask, Asked, GetRows, GetStatus, Request, RowsAnswer, Status
from ..shell.directory import app_directory

ROWS_PER_REQUEST = 500


class NotRunning(StreamclusterError):
    """A command needs the running app, which does not run on this host; the operator must act."""

    exit_code = ExitCode.BROKER_UNREACHABLE


def directory_of(settings: Settings) -> Path:
    """The app's own state directory on this host."""
    return app_directory(settings)


def ask_status(settings: Settings) -> Status:
    """The newest snapshot. Raises NotRunning."""
    answer = _ask(settings, GetStatus())
    assert isinstance(answer, Status)
    return answer


def ask_rows(
    settings: Settings,
    table: str,
    *,
    key: str | None = None,
    after: str | None = None,
    rows_max: int = ROWS_PER_REQUEST,
    as_of: int | None = None,
) -> RowsAnswer:
    """One key (JSON text), as it is or was at a time in ms, or one page of a table.

    Raises:
        NotRunning: nobody answers here.
        TryAgain: a task of the table has moved for longer than the coordinator waits.
        ConfigurationError: with the app's reason.
    """
    answer = _ask(settings, GetRows(table=table, key=key, after=after, rows_max=rows_max, as_of=as_of))
    assert isinstance(answer, RowsAnswer)
    if answer.error is not None and answer.passing:
        raise TryAgain(f"table {table!r}: {answer.error}. Try again")
    if answer.error is not None:
        raise ConfigurationError(f"table {table!r}: {answer.error}")
    return answer


def ask_leader(settings: Settings, question: Ask) -> Asked:
    """What the leader says to an operator's wish; no answer in time is an answer too. Raises NotRunning."""
    directory = directory_of(settings)
    try:
        answer = ask(directory, question)
    except TimeoutError:
        return Asked(
            error=f"no leader has answered within {LEADER_SECONDS:g} s. It may still be done: "
            "`streamcluster status` shows who leads and what moves"
        )
    except (OSError, FrameError) as error:
        raise _not_running(settings, error) from error
    assert isinstance(answer, Asked)
    return answer


def all_rows(settings: Settings, table: str) -> Iterator[tuple[str, str]]:
    """Every row of a table as (JSON key, JSON value), page by page; it ends because each page moves the cursor on."""
    after: str | None = None
    while True:
        page = ask_rows(settings, table, after=after)
        yield from page.rows
        if page.after is None:
            return
        after = page.after


def _ask(settings: Settings, request: Request) -> Answer:
    try:
        return ask(directory_of(settings), request)
    except (OSError, FrameError) as error:
        raise _not_running(settings, error) from error


def _not_running(settings: Settings, error: OSError | FrameError) -> NotRunning:
    known: dict[type[Exception], str] = {FileNotFoundError: "", TimeoutError: " (it did not answer in time)"}
    reason = known.get(type(error), f" ({error.strerror or error if isinstance(error, OSError) else error})")
    return NotRunning(
        f"{settings.app_id} is not running here{reason}: no coordinator answers in {directory_of(settings)}. "
        "Start it, or give the --state-dir that it was started with."
    )
