"""Where the app is imported: once, in the fork server, or in each process; and what to tell of that."""

from __future__ import annotations

from streamcluster.app import App
from streamcluster.config.loading import AppNotImportable, load_app
from streamcluster.errors import StreamclusterError

from .at_import import places_of_opening

# So many lines of an app are named that open something when it is imported.
PLACES_MAX = 3


class AppImport:
    """What the fork server found when it imported the app.

    shared: what was opened that workers would share, so that each process imports the app; empty: it is imported.
    listens: the sockets and threads that are the fork server's alone; empty: none.
    """

    __slots__ = ("listens", "shared")

    def __init__(self) -> None:
        self.shared = ""
        self.listens = ""

    def opens_shared(self, words: str) -> None:
        """What was opened would be shared."""
        self.shared = words

    def only_listens(self, words: str) -> None:
        """What was opened stays with the fork server."""
        self.listens = words

    def load_and_tell(self, app: str) -> tuple[App, tuple[str, ...]]:
        """The app, and what its author should know of its import. Raises as `load_app`."""
        if self.listens:
            return load_app(app), (
                f"{app} opens this when it is imported: {self.listens}. It stays with the process that workers are "
                "forked from: no worker answers there. Open it in an @app.task(on_leader=True), or in one of each "
                "worker, with a port of its own.",
            )
        if not self.shared:
            return load_app(app), ()
        with places_of_opening() as places:
            found = load_app(app)
        where = f" ({'; '.join(places[:PLACES_MAX])})" if places else ""
        return found, (
            f"{app} opens this when it is imported: {self.shared}{where}. Workers that are forked afterwards would "
            "share it, so each imports the app for itself, which takes time and memory. To have it imported once for "
            "all, open such things in an @app.task, or when they are first used.",
        )


def load_or_why(app: str) -> App | Exception:
    """The app, or why there is none."""
    try:
        return load_app(app)
    except AppNotImportable as error:
        if not APP_IMPORT.shared:
            return error
        # It connects to something, and could at the start: that is away, and a later process will find it again.
        failure = RuntimeError(f"{error} It did import when the app was started")
        failure.__cause__ = error.__cause__
        return failure
    except StreamclusterError as error:
        return error


APP_IMPORT = AppImport()
