"""Windowed tables in a module of their own, as apps of more than one file have them (test_strangers.py)."""

from __future__ import annotations

from streamcluster import App, Topic
from streamcluster.windows.windowed import WindowedTable


class Tables:
    """What an app keeps."""

    app: App
    clicks: Topic
    views: WindowedTable


def declared() -> None:
    """Make them anew, for each test."""
    Tables.app = app = App("named", error_retries=0)
    Tables.clicks = app.topic("clicks", key_type=str, value_type=str)
    Tables.views = app.Table("views", key_type=str, default=list).tumbling(60, grace=0)
    globals().update(views=Tables.views)


def collect(page: str, user: str) -> None:
    """Called as `named_tables.collect`."""
    Tables.views[page].value().append(user)
