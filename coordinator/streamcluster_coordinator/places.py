"""Where on this machine we may write when little is given, as in containers: state, a cache, a socket for a moment.

Each place is one that was named, or else the usual one; where there is none it says which to name. It makes no state.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from streamcluster.causes import why
from streamcluster.errors import ConfigurationError

from .own_directory import NotOurs, make_own

# The kernel's limit on the path of a Unix socket, less what multiprocessing appends: /pymp-12345678/listener-12345678.
_SOCKET_DIRECTORY_BYTES_MAX = 107 - 33


def home(environ: Mapping[str, str], what: str, instead: str) -> Path:
    """The user's home directory. what: is to be there; instead: how to name another place for it.

    Raises:
        ConfigurationError: there is none: $HOME is not set, and the user id has no entry in /etc/passwd.
    """
    if (named := environ.get("HOME")) and Path(named).is_absolute():
        return Path(named)
    try:
        return Path.home()
    except RuntimeError:
        raise ConfigurationError(
            f"there is no place for {what}: $HOME is not set, and user id {os.geteuid()} has no entry in /etc/passwd. "
            f"{instead}"
        ) from None


def state_root(state_dir: str | None, environ: Mapping[str, str] = os.environ) -> Path:
    """Where apps keep their state on this host: the setting, else what systemd gives, else the user's state home.

    Raises:
        ConfigurationError: nothing says where.
    """
    if state_dir:
        return _expanded(state_dir).absolute()
    if environ.get("STATE_DIRECTORY"):
        # systemd lists several with colons; the first one is the unit's own.
        return Path(environ["STATE_DIRECTORY"].split(":")[0])
    named = environ.get("XDG_STATE_HOME")
    if named and Path(named).is_absolute():
        # The specification wants relative paths ignored.
        return Path(named) / "streamcluster"
    instead = "Say where with --state-dir (or $STREAMCLUSTER_STATE_DIR): a directory that this user can write."
    return home(environ, "the app's state", instead) / ".local/state/streamcluster"


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"state_dir={path!r}: {error}.") from error


def use_socket_directory(state_dir: str | None, environ: Mapping[str, str] = os.environ) -> None:
    """Have multiprocessing put the fork server's socket where we may write: it is needed while processes are started.

    Raises:
        ConfigurationError: there is no such place.
    """
    refused = []
    for directory in _socket_directories(state_dir, environ):
        text = str(directory)
        if len(os.fsencode(text)) > _SOCKET_DIRECTORY_BYTES_MAX:
            refused.append(f"{text}: longer than the {_SOCKET_DIRECTORY_BYTES_MAX} bytes that a socket leaves to it")
        elif (reason := _unwritable(directory)) is not None:
            refused.append(f"{text}: {reason}")
        else:
            tempfile.tempdir = text
            return
    listed = "".join(f"\n- {one}" for one in refused)
    raise ConfigurationError(
        "there is no directory for the socket over which worker processes are started. Name one with $TMPDIR (in a "
        f"container, mount a volume or a tmpfs at /tmp), or give a --state-dir. Tried:{listed}"
    )


def _socket_directories(state_dir: str | None, environ: Mapping[str, str]) -> Iterator[Path]:
    """Where a temporary file may be, the usual places first; the one for state last, and only if it is named."""
    named = [environ[name] for name in ("TMPDIR", "TEMP", "TMP") if environ.get(name)]
    for text in dict.fromkeys([*named, "/tmp", "/var/tmp", environ.get("XDG_RUNTIME_DIR", "")]):
        if Path(text).is_absolute():
            yield Path(text)
    try:
        yield state_root(state_dir, environ)
    except ConfigurationError:
        # Whether the code of the app names one is known when it is imported, which takes a process.
        return


def _unwritable(directory: Path) -> str | None:
    """Why nothing can be made there."""
    try:
        if not directory.exists():
            make_own(directory)
        with tempfile.TemporaryFile(dir=directory):
            return None
    except NotOurs as error:
        return str(error)
    except OSError as error:
        return error.strerror or why(error)


def temporary_directory(prefix: str, instead: str) -> Path:
    """Make one. instead: what to do where none can be made.

    Raises:
        ConfigurationError: no directory for temporary files can be written.
    """
    try:
        return Path(tempfile.mkdtemp(prefix=prefix))
    except OSError as error:
        # That no directory is usable has an errno and no other fact.
        reason = why(error) if error.filename else error.strerror
        raise ConfigurationError(f"no temporary directory can be made ({reason}): {instead}.") from error
