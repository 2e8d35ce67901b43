"""What `app.main()` does: the command line, for the app of the module that calls it."""

from __future__ import annotations

from importlib import import_module
from types import FrameType


def run_main(app: object, frame: FrameType | None) -> None:
    """Run the command line with `-A` set to the app. frame: that of `app.main`."""
    caller = frame.f_back.f_globals if frame is not None and frame.f_back is not None else {}
    name = next((name for name, value in caller.items() if value is app), "app")
    spec = caller.get("__spec__")
    module = (
        spec.name if spec is not None else str(caller.get("__file__", "app.py")).rsplit("/", 1)[-1].removesuffix(".py")
    )
    import_module("streamcluster_coordinator.cli").run_for_app(f"{module}:{name}")
