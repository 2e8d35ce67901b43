"""The boundary around what is made of others' records: one that the machine fails on costs a line, never the host.

Decoders let nothing through that can be wrong in itself, so this is for what nobody thought of. What fails on anything
else is a mistake of ours, and ends the coordinator.
"""

from __future__ import annotations

from ..dropped import Dropped
from ..machine import events as ev
from ..machine.node import Node


def effects_of(node: Node, event: ev.Event, dropped: Dropped) -> list[ev.Effect]:
    """What the machine makes of an event; nothing, of a report or snapshot that it fails on and then forgets."""
    before = node.view.snapshot
    try:
        return node.handle(event)
    except Exception as error:
        match event:
            case ev.ReportHeard(report):
                place = f"reports of host {report.host}"
                node.view.forget(report.host)
            case ev.SnapshotRead():
                place = "snapshots of who owns what"
                node.view.go_back(before)
            case _:
                raise
        dropped.add(place, f"{type(error).__name__}: {error}", traceback=error)
        return []
