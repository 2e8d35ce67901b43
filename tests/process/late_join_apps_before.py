"""The app of `late_join_apps`, before it has joins."""

from __future__ import annotations

from tests.process.late_join_apps import declare

late = declare(is_later=False)
