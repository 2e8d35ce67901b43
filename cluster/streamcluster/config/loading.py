"""Finds the App behind `-A module:attribute`. It imports the user's module, and says precisely why it cannot.

Used by the coordinator and, with the same text, by each worker. It knows no command line.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import signal
import sys
import traceback
from types import ModuleType

from ..app import App
from ..errors import AppError, ConfigurationError
from ..printable import text_of, traceback_of


class AppNotImportable(AppError):
    """The user's module raised while it was imported. traceback: from the user's first frame on."""

    def __init__(self, text: str, traceback_text: str) -> None:
        super().__init__(text)
        self.traceback = traceback_text


def load_app(reference: str) -> App:
    """Import `module:attribute` and return the App. `module` alone means its attribute `app`, or its only App.

    The current directory is searched first, as with `python -m`.

    Raises:
        AppNotImportable: the module raised.
        AppError: no such module, no such attribute, or the attribute is not an App.
    """
    module_name, colon, attribute = reference.partition(":")
    if not module_name or (colon and not attribute):
        raise AppError(f"-A {reference!r}: write it as module:attribute, for example -A shop:app.")
    module = _module(reference, module_name)
    apps = {name: value for name, value in vars(module).items() if isinstance(value, App)}
    if not colon:
        attribute = "app" if "app" in apps or len(apps) != 1 else next(iter(apps))
    if attribute in apps:
        return apps[attribute]
    where = module.__file__ or module_name
    if hasattr(module, attribute):
        kind = type(getattr(module, attribute)).__name__
        raise AppError(f"-A {reference!r}: {attribute!r} in {where} is a {kind}, not a streamcluster.App.{_hint(apps)}")
    near = difflib.get_close_matches(attribute, apps, n=1)
    if near:
        raise AppError(f"-A {reference!r}: {where} has no {attribute!r}. Did you mean -A {module_name}:{near[0]}?")
    raise AppError(f"-A {reference!r}: {where} has no {attribute!r}.{_hint(apps)}")


def _hint(apps: dict[str, App]) -> str:
    if not apps:
        return " There is no App in that module."
    return f" Its Apps: {', '.join(sorted(apps))}."


def _module(reference: str, name: str) -> ModuleType:
    if name.endswith(".py") or os.sep in name:
        raise AppError(f"-A {reference!r}: name the module, not the file, for example -A {_from_path(name)}:app.")
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise AppError(
                f"-A {reference!r}: there is no module {error.name!r} in {here} or on the Python path. "
                "Run from the directory that has it, or install it."
            ) from error
        raise _not_importable(reference, error) from error
    except ConfigurationError as error:
        # A wrong declaration already says what is wrong; where it stands is in the traceback.
        raise AppNotImportable(f"-A {reference!r}: {error}", _users_traceback(error)) from error
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # Somebody at a terminal, perhaps; workers and their fork server get none.
            raise
        raise _not_importable(reference, error) from error


def _not_importable(reference: str, error: BaseException) -> AppNotImportable:
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {text_of(error)}"
    return AppNotImportable(
        f"-A {reference!r} does not import: {said} ({last.filename}, line {last.lineno}).",
        _users_traceback(error),
    )


def _users_traceback(error: BaseException) -> str:
    """The traceback without the frames of this file and of the import machinery above the user's module."""
    try:
        frames = traceback.TracebackException.from_exception(error)
    except BaseException:  # noqa: BLE001 (causes are others' code too)
        return traceback_of(error)
    own = [index for index, frame in enumerate(frames.stack) if _is_machinery(frame.filename)]
    leading = 0
    while leading in own:
        leading += 1
    del frames.stack[:leading]
    return "".join(frames.format(chain=True)).rstrip()


def _is_machinery(filename: str) -> bool:
    return filename in (__file__, importlib.__file__) or filename.startswith("<frozen importlib")


def _from_path(path: str) -> str:
    return path.removesuffix(".py").strip("./").replace(os.sep, ".")
