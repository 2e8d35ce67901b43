"""The README says what the code does: its tour runs, and its tables of settings, exit codes and states are the code's.

Each table is read from the text and compared with the one made from the code, so neither can change alone.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from click.core import Group

import streamcluster
from streamcluster.errors import ExitCode
from streamcluster.ids import TaskId
from streamcluster.settings import Settings
from streamcluster_coordinator.cli import command_line
from streamcluster_coordinator.machine import slots as machine_slots
from streamcluster_coordinator.machine.slots import TRANSITIONS, Trigger
from streamcluster_worker import lifecycle
from streamcluster_worker.lifecycle import Lifecycle, State

CHECKOUT = Path(__file__).parent.parent
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
TASK = TaskId(4, 0)
TASK_STATES = ("absent", *get_args(State))
TASK_EVENTS: dict[str, lifecycle.Event] = {
    "granted": lifecycle.Granted(1, (TASK,)),
    "followed": lifecycle.Followed(1, (TASK,)),
    "dropped": lifecycle.Followed(1, ()),
    "opened": lifecycle.Opened(TASK),
    "restored": lifecycle.Restored(TASK),
    "damaged": lifecycle.Damaged(TASK),
    "revoked": lifecycle.Revoked(1, (TASK,)),
    "closed": lifecycle.Closed(TASK),
    "lost": lifecycle.Lost(),
}
# Telling what is so changes nothing.
TOLD = (lifecycle.TellReleased, lifecycle.TellFollowing, lifecycle.TellReady)


def cells(line: str) -> list[str]:
    """The cells of one line of a table, without the marks around them."""
    return [cell.strip(" *\\`") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def table(header: str) -> list[list[str]]:
    """The rows below the README's table header that begins with `header`."""
    lines = README.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(header))
    end = next(number for number in range(start, len(lines)) if not lines[number].startswith("|"))
    return [cells(line) for line in lines[start + 2 : end]]


def written(doc: str | None) -> list[list[str]]:
    """The table in a file's own docstring."""
    assert doc is not None
    lines = [line for line in doc.splitlines() if " | " in line]
    return [[cell.strip() for cell in line.split("|")] for line in lines[1:]]


def default_of(setting: msgspec.structs.FieldInfo) -> str:
    """A default as the README writes it."""
    default: Any = setting.default
    if default is msgspec.NODEFAULT and setting.default_factory is msgspec.NODEFAULT:
        return "required"
    if default is msgspec.NODEFAULT:
        default = setting.default_factory()
    if default is None or isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


def blocks(name: str) -> str:
    """The README's code for the file `name`, joined."""
    found = re.findall(rf"<!-- {re.escape(name)} -->\n```python\n(.*?)```", README, re.DOTALL)
    assert found, name
    return "\n\n".join(found)


def target(state: str, event: str) -> str:
    """Where the event takes a task that is in that state; empty when it means nothing there."""
    life = Lifecycle()
    if state != "absent":
        life.states[TASK] = state  # type: ignore[assignment]  # one of TASK_STATES
    effects = [effect for effect in life.handle(TASK_EVENTS[event]) if not isinstance(effect, TOLD)]
    after: str = life.states.get(TASK, "absent")
    if life.queued:
        return "queued"
    return "" if after == state and not effects else after


def use(owner: object, attribute: str) -> None:
    """Call the attribute; when it is a coroutine function, begin to run it."""
    coroutine = getattr(owner, attribute)()
    coroutine.send(None)


def commands_mentioned() -> list[str]:
    """The word behind `streamcluster` in code of the README, without options, file names and imports."""
    code = re.findall(r"`([^`\n]+)`|^    (.+)$", README, re.MULTILINE)
    found = [re.match(r"(?:\$ )?streamcluster (\w+)", inline or indented) for inline, indented in code]
    return sorted({match[1] for match in found if match})


def names_not_offered() -> list[str]:
    """The names that the README lists as not there yet."""
    return [
        name for row in table("| name |") for name in re.findall(r"\b(?:app|agent|stream|table|topic)\.\w+", row[0])
    ]


def test_every_setting_is_listed_with_its_default() -> None:
    """The table has each setting once, in the order of settings.py, with the default and some words."""
    rows = table("| setting |")
    assert [(row[0], row[1]) for row in rows] == [
        (setting.name, default_of(setting)) for setting in msgspec.structs.fields(Settings)
    ]
    assert [row[0] for row in rows if not row[2]] == []


def test_every_exit_code_is_listed() -> None:
    """The table has each exit code, in order, under its name."""
    assert [(row[0], row[1]) for row in table("| code |")] == [(str(int(code)), code.name) for code in ExitCode]


def test_slot_table_is_the_machines() -> None:
    """README and docstring have the transitions of machine/slots.py, cell by cell."""
    triggers = get_args(Trigger)
    expected = [[state, *(moves.get(trigger, "") for trigger in triggers)] for state, moves in TRANSITIONS.items()]
    assert table("| state | start |") == expected
    assert written(machine_slots.__doc__) == expected


def test_task_table_is_the_life_cycles() -> None:
    """README and docstring have what the life cycle does with each event in each state, cell by cell."""
    expected = [[state, *(target(state, event) for event in TASK_EVENTS)] for state in TASK_STATES]
    assert table("| state | granted |") == expected
    assert written(lifecycle.__doc__) == expected


def test_tour_runs(tmp_path: Path) -> None:
    """The tour's app and its test, copied out of the README, pass as they stand."""
    for name in ("shop.py", "test_shop.py"):
        (tmp_path / name).write_text(blocks(name))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        "test_shop.py",
    ]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_commands_of_the_tour_say_which_app() -> None:
    """The first command in the third terminal works as it stands: it has -A, or the variable was set before."""
    lines = [line.strip() for line in README.splitlines() if line.startswith("    $ ")]
    app_known = False
    for line in lines:
        app_known = app_known or "STREAMCLUSTER_APP=" in line
        assert app_known or " -A " in line, line


@pytest.mark.parametrize("name", commands_mentioned())
def test_commands_exist(name: str) -> None:
    """Each `streamcluster COMMAND` that the README mentions is one."""
    assert isinstance(command_line, Group)
    assert name in command_line.commands


@pytest.mark.parametrize("name", names_not_offered())
def test_what_is_not_there_says_so(name: str) -> None:
    """Each name that the README lists as missing raises NotOffered when it is used."""
    app = streamcluster.App("shop")
    topic = app.topic("orders")

    @app.agent(topic, name="agent")
    async def agent(stream: streamcluster.Stream[Any]) -> None:
        async for _ in stream:
            pass

    owners = {"app": app, "agent": agent, "stream": app.stream(topic), "table": app.Table("t"), "topic": topic}
    owner, _, attribute = name.partition(".")
    with pytest.raises(streamcluster.NotOffered):
        use(owners[owner], attribute)


def headings_of(text: str) -> set[str]:
    """What links within a text may refer to."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_lead_somewhere() -> None:
    """Each file that the README links to is there, and each heading that it refers to."""
    for link in re.findall(r"\]\(([^)]+)\)", README):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        text = (CHECKOUT / path).read_text(encoding="utf-8") if path else README
        assert not heading or heading in headings_of(text), link
