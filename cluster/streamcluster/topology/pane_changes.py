"""Changes of windows with merge=, as they are declared: the topics that they are told in."""

from __future__ import annotations

from ..app import App
from . import TopicSpec
from .chains import ANY_TIME
from .changelogs import changelog_name


def name_changes(app: App) -> None:
    """Name what was not known when they were declared, and have it take what is sent there."""
    for name, changes in app.pane_changes.items():
        for topic in (changes.told, *changes.readers):
            topic.is_named(f"{app.conf.app_id}-{name}-changes")
        changes.told.compile(app.conf)


def declare_changes(app: App, repartitions: dict[str, TopicSpec]) -> None:
    """Add the topics. They are compacted and kept, as changelogs are: agents that come later read them too."""
    for name, changes in app.pane_changes.items():
        repartitions[changes.told.name] = TopicSpec(
            name=changes.told.name,
            role="repartition",
            create=True,
            like=(changelog_name(app, app.tables[name]),),
            config={"cleanup.policy": "compact", **ANY_TIME},
            used_by=(name,),
        )
