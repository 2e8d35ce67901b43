"""Finds out what an app needs and whether the brokers have it, without importing the app here.

Shared by `start` and `check`. It changes nothing; the app is imported by a probe process.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Mapping

import msgspec

from streamcluster.config.loading import AppNotImportable
from streamcluster.errors import AppError, BrokerUnreachable, ConfigurationError, StateIncompatible, StreamclusterError
from streamcluster.protocol.messages import Description, Failed
from streamcluster.protocol.wire import FrameReader
from streamcluster.topology import Problem, Topology
from streamcluster.topology.resolve import resolve

from .admin.brokers import Brokers
from .shell.fleet import Fleet, ForkServerEnded

# Imports of large libraries take seconds; an import that waits for something never ends.
PROBE_SECONDS = 60.0
_ERRORS: Mapping[int, type[StreamclusterError]] = {
    int(kind.exit_code): kind for kind in (AppError, StateIncompatible, BrokerUnreachable)
}


def describe(fleet: Fleet, app: str, overrides: Mapping[str, object], seconds: float = PROBE_SECONDS) -> Description:
    """Let a process import the app and say what it declares.

    Raises:
        AppError: it does not import, or declares what cannot be; `traceback` may be set (user code).
        ConfigurationError: a setting is wrong (the operator).
    """
    deadline = time.monotonic() + seconds
    stuck = AppError(
        f"-A {app}: importing it takes longer than {seconds:.0f} s. What a module does on import must end soon: move "
        "waiting and connecting into an agent or @app.task."
    )
    try:
        process = fleet.start_probe(app, msgspec.msgpack.encode(dict(overrides)), seconds)
    except TimeoutError as error:
        raise stuck from error
    except ForkServerEnded as error:
        raise _ended(app, error.code) from None
    try:
        answer = _answer(process.sock, deadline)
        if answer is None and not process.wait(max(0.0, deadline - time.monotonic())):
            raise stuck
        if answer is None:
            raise _ended(app, process.exit_code())
    finally:
        process.kill_and_wait()
    if isinstance(answer, Failed):
        if answer.traceback is not None:
            # The command line prints the traceback before the message.
            raise AppNotImportable(answer.text, answer.traceback)
        raise _ERRORS.get(answer.exit_code, ConfigurationError)(answer.text)
    return answer


def _ended(app: str, code: int | None) -> AppError:
    """The process that imported the app is gone."""
    how = "ended" if code is None else f"ended with code {code}"
    if code is not None and code < 0:
        how = f"was killed by {signal.Signals(-code).name}"
    return AppError(
        f"-A {app}: the process that imports it {how} and did not say why. Look for os._exit(), os.abort() and "
        "libraries that crash in what its modules, and its agents before their first event, do."
    )


def _answer(sock: socket.socket, deadline: float) -> Description | Failed | None:
    """The one frame that a probe sends; None: it closed its end without one, or time is over."""
    reader: FrameReader[Description | Failed] = FrameReader(msgspec.msgpack.Decoder(Description | Failed))
    while (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            data = sock.recv(256 * 1024)
        except (TimeoutError, ConnectionError):
            return None
        if not data:
            return None
        for answer in reader.feed(data):
            return answer
    return None


def compare(
    description: Description, brokers: Brokers, before: Mapping[str, tuple[str, int]]
) -> Topology | list[Problem]:
    """What the app declares joined with what the brokers have. before: as of `resolve`."""
    declared = description.declared
    return resolve(declared, brokers.topics(declared.topics), description.settings, before)


def error_of(problems: list[Problem]) -> ConfigurationError | StateIncompatible:
    """All problems as one error: the state of an earlier run is named before wrong declarations."""
    text = "\n".join(f"- {problem.text}" for problem in problems) if len(problems) > 1 else problems[0].text
    if len(problems) > 1:
        text = f"{len(problems)} problems:\n{text}"
    if any(problem.incompatible for problem in problems):
        return StateIncompatible(text)
    return ConfigurationError(text)
