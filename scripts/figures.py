"""Draws the figures of docs/windows.md and docs/event-time.md, by the windows that the code gives.

`.venv/bin/python scripts/figures.py`, after one was changed; tests/event_time/test_figures.py compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from streamcluster.windows.kinds import Hopping, Span

FOLDER = Path(__file__).parents[1] / "docs/figures"
# Where the axis of time begins, and how wide a second is.
LEFT, SECOND = 125, 8
ROW = 30
# Seconds that are shown.
LENGTH = 72
EVENT, LATE, WINDOW, OPEN, EDGE, TEXT = "#1d4ed8", "#b91c1c", "#dbeafe", "#f3f4f6", "#64748b", "#1f2937"
# Of one key, in seconds. The fifth comes out of order in the drawing of the watermark.
EVENTS = (4, 12, 17, 31, 52)


@dataclass
class Drawing:
    """One file. Places are in pixels; `at` tells that of a second."""

    height: int
    title: str
    width: int = LEFT + LENGTH * SECOND + 20
    parts: list[str] = field(default_factory=list)

    @staticmethod
    def at(second: float) -> float:
        """Where a second is on the axis of time."""
        return LEFT + second * SECOND

    def line(self, x: float, y: float, to_x: float, to_y: float, colour: str = EDGE, dash: str = "") -> None:
        """From one place to another."""
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<line x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}" stroke="{colour}"{dashes}/>')

    def text(self, x: float, y: float, text: str, anchor: str = "middle", colour: str = TEXT) -> None:
        """Words."""
        self.parts.append(f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>')

    def dot(self, x: float, y: float, colour: str = EVENT) -> None:
        """An event."""
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="5" fill="{colour}"/>')

    def box(self, start: float, end: float, y: float, text: str, fill: str = WINDOW, dash: str = "") -> None:
        """A span of time, in seconds."""
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        width = max(14, (end - start) * SECOND)
        self.parts.append(
            f'<rect x="{self.at(start):g}" y="{y:g}" width="{width:g}" height="{ROW - 8}" rx="4" fill="{fill}" '
            f'stroke="{EDGE}"{dashes}/>'
        )
        self.text(self.at(start) + width / 2, y + 16, text)

    def axis(self, y: float, label: str = "event time") -> None:
        """Seconds."""
        self.line(self.at(0), y, self.at(LENGTH), y)
        self.text(LEFT - 12, y + 4, label, "end")
        for second in range(0, LENGTH + 1, 10):
            self.line(self.at(second), y - 4, self.at(second), y + 4)
            self.text(self.at(second), y + 20, f"{second} s")

    def events(self, y: float, label: str, times: Sequence[float], colour: str = EVENT) -> None:
        """A row of them."""
        self.text(LEFT - 12, y + 4, label, "end")
        for time in times:
            self.dot(self.at(time), y, colour)

    def svg(self) -> str:
        """The file."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label={quoteattr(self.title)} font-family="sans-serif" font-size="13">'
        )
        return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *self.parts, "</svg>", ""])


def rows_of(drawing: Drawing, spans: Sequence[tuple[float, float, int]], top: float, rows: int) -> None:
    """Windows with how many events they hold, in so many rows, one after the other."""
    for number, (start, end, count) in enumerate(spans):
        drawing.box(start, end, top + number % rows * ROW, f"{count}")


def windows_of(kind: Hopping) -> list[tuple[float, float, int]]:
    """Those of the events, with their counts."""
    counts: dict[Span, int] = {}
    for event in EVENTS:
        for span in kind.spans(event * 1000):
            counts[span] = counts.get(span, 0) + 1
    return [(start / 1000, end / 1000, count) for (start, end), count in sorted(counts.items())]


def tumbling() -> Drawing:
    """Each event is in one."""
    drawing = Drawing(130, "Tumbling windows of 20 seconds follow each other; each event is in one of them")
    drawing.events(20, "events", EVENTS)
    drawing.text(LEFT - 12, 58, "tumbling(20)", "end")
    rows_of(drawing, windows_of(Hopping(20_000, 20_000)), 42, 1)
    drawing.axis(96)
    return drawing


def hopping() -> Drawing:
    """Each event is in two."""
    drawing = Drawing(160, "Hopping windows of 20 seconds that begin each 10 seconds; each event is in two of them")
    drawing.events(20, "events", EVENTS)
    drawing.text(LEFT - 12, 72, "hopping(20, 10)", "end")
    rows_of(drawing, windows_of(Hopping(20_000, 10_000)), 42, 2)
    drawing.axis(126)
    return drawing


def session() -> Drawing:
    """From the first event to the last, and the gap behind it."""
    drawing = Drawing(
        130, "Sessions with a gap of 10 seconds: from the first event to the last that is no further away"
    )
    drawing.events(20, "events", EVENTS)
    drawing.text(LEFT - 12, 58, "session(10)", "end")
    found: list[list[int]] = []
    for event in EVENTS:
        if found and event - found[-1][-1] <= 10:
            found[-1].append(event)
        else:
            found.append([event])
    for events in found:
        drawing.box(events[-1], events[-1] + 10, 42, "", OPEN, "3 3")
        drawing.box(events[0], events[-1], 42, f"{len(events)}")
    drawing.axis(96)
    return drawing


def sliding() -> Drawing:
    """What was in the last seconds, seen from each event."""
    drawing = Drawing(40 + len(EVENTS) * ROW + 60, "Sliding windows of 20 seconds: each event with what was before it")
    drawing.events(20, "events", EVENTS)
    drawing.text(LEFT - 12, 58, "sliding(20)", "end")
    for number, event in enumerate(EVENTS):
        count = sum(event - 20 <= other <= event for other in EVENTS)
        drawing.box(max(0, event - 20), event, 42 + number * ROW, f"{count}")
        drawing.line(drawing.at(event), 20, drawing.at(event), 42 + number * ROW, dash="2 4")
    drawing.axis(66 + len(EVENTS) * ROW)
    return drawing


def watermark() -> Drawing:
    """Events in the order in which they come, and the watermark that they move."""
    arrivals = (4, 12, 9, 22, 17, 27, 31, 18, 40)
    drawing = Drawing(
        330, "The watermark is the largest timestamp so far; a window is over when it is past end and grace"
    )
    top, step = 280, 6
    end, grace = 20, 10
    closes = next(number for number, mark in enumerate(accumulate(arrivals, max)) if mark >= end + grace)

    def height(second: float) -> float:
        return top - second * step

    def place(number: int) -> float:
        return LEFT + 40 + number * 58

    right = place(len(arrivals) - 1) + 40
    drawing.parts.append(
        f'<rect x="{LEFT}" y="{height(end):g}" width="{right - LEFT:g}" height="{end * step}" fill="{WINDOW}"/>'
    )
    drawing.parts.append(
        f'<rect x="{LEFT}" y="{height(end + grace):g}" width="{right - LEFT:g}" height="{grace * step}" fill="{OPEN}"/>'
    )
    drawing.text(right - 6, height(2), "window [0, 20)", "end")
    drawing.text(right - 6, height(end + 2), "grace=10", "end")
    for second in range(0, 41, 10):
        drawing.text(LEFT - 12, height(second) + 4, f"{second} s", "end")
        drawing.line(LEFT - 4, height(second), LEFT, height(second))
    drawing.line(LEFT, height(42), LEFT, top)
    drawing.line(LEFT, top, right, top)
    drawing.text((LEFT + right) / 2, top + 36, "in the order in which they come")
    marks = list(accumulate(arrivals, max))
    for number, mark in enumerate(marks):
        to = place(number + 1) if number + 1 < len(marks) else right
        drawing.line(place(number), height(mark), to, height(mark), EVENT)
        if number + 1 < len(marks):
            drawing.line(to, height(mark), to, height(marks[number + 1]), EVENT)
    for number, time in enumerate(arrivals):
        is_late = time < end and number > closes
        drawing.dot(place(number), height(time), LATE if is_late else EVENT)
        drawing.text(place(number), top + 18, f"{time} s", colour=LATE if is_late else TEXT)
    drawing.line(place(closes), height(42), place(closes), top, dash="4 4")
    drawing.text(place(closes) - 6, height(38), "the window closes", "end")
    drawing.text(place(closes) + 64, height(14), "late", "start", LATE)
    return drawing


def join() -> Drawing:
    """One order, and the payments that are its partners."""
    order, before, after, grace = 24, 6, 20, 10
    drawing = Drawing(180, "An order meets payments from before to after its own time; alone it comes out grace later")
    drawing.events(24, "order", [order])
    drawing.line(drawing.at(order), 24, drawing.at(order), 104, dash="2 4")
    drawing.text(LEFT - 12, 66, "its partners", "end")
    drawing.box(order - before, order + after, 50, "before=6  |  after=20")
    drawing.box(order + after, order + after + grace, 50, "grace=10", OPEN, "3 3")
    inside = [18, 30, 44]
    drawing.events(104, "payments", inside)
    for time in (10, 58):
        drawing.dot(drawing.at(time), 104, EDGE)
    drawing.line(drawing.at(order + after + grace), 40, drawing.at(order + after + grace), 120, dash="4 4")
    drawing.text(drawing.at(order + after + grace), 36, "final")
    drawing.axis(140)
    return drawing


def as_of() -> Drawing:
    """Versions of one entry, and which of them a click meets."""
    drawing = Drawing(170, "A click meets the version of its user that was there at the time of the click")
    versions = [(4, 24, "de"), (24, 46, "fr"), (46, LENGTH - 2, "es")]
    clicks = [(12, "de"), (24, "fr"), (38, "fr"), (57, "es")]
    drawing.text(LEFT - 12, 36, "user, versions", "end")
    for start, end, text in versions:
        drawing.box(start, end, 20, text)
    for time, text in clicks:
        drawing.line(drawing.at(time), 46, drawing.at(time), 84, dash="2 4")
        drawing.text(drawing.at(time), 108, text)
    drawing.events(86, "clicks", [time for time, _ in clicks])
    drawing.axis(132)
    return drawing


def document() -> dict[str, str]:
    """Name -> file, of all figures."""
    drawings = (tumbling, hopping, session, sliding, watermark, join, as_of)
    return {f"{draw.__name__.replace('_', '-')}.svg": draw().svg() for draw in drawings}


if __name__ == "__main__":
    for name, text in document().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
