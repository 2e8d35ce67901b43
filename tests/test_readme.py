"""README and docs say what the code does: their app runs, their tables of settings, exit codes and states are its own.

Each table is read from the text and compared with the one made from the code, so neither can change alone.
"""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from click.core import Context, Group

import streamcluster
from streamcluster.errors import ExitCode
from streamcluster.ids import TaskId
from streamcluster_coordinator.cli import command_line
from streamcluster_coordinator.machine import slots as machine_slots
from streamcluster_coordinator.machine.slots import TRANSITIONS, Trigger
from streamcluster_worker import lifecycle
from streamcluster_worker.lifecycle import Lifecycle, State

CHECKOUT = Path(__file__).parent.parent
PAGES = {
    path.relative_to(CHECKOUT).as_posix(): path.read_text(encoding="utf-8")
    for path in (CHECKOUT / "README.md", CHECKOUT / "CHANGES.md", *sorted((CHECKOUT / "docs").glob("*.md")))
}
README = PAGES["README.md"]
README_LINES_MAX = 300
# Where our files are.
FOLDERS = ("cluster", "worker", "coordinator", "tests", "scripts", "deploy")
# Files of users, in commands and examples.
OF_USERS = ("shop.py", "test_shop.py")
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


def table(page: str, header: str) -> list[list[str]]:
    """The rows below the table header of a page that begins with `header`."""
    lines = PAGES[page].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(header))
    end = next((n for n in range(start, len(lines)) if not lines[n].startswith("|")), len(lines))
    return [cells(line) for line in lines[start + 2 : end]]


def written(doc: str | None) -> list[list[str]]:
    """The table in a file's own docstring."""
    assert doc is not None
    lines = [line for line in doc.splitlines() if " | " in line]
    return [[cell.strip() for cell in line.split("|")] for line in lines[1:]]


def blocks(name: str, *pages: str) -> str:
    """The code for the file `name` on these pages, joined."""
    pattern = rf"<!-- {re.escape(name)} -->\n```python\n(.*?)```"
    found = [block for page in pages for block in re.findall(pattern, PAGES[page], re.DOTALL)]
    assert len(found) >= len(pages), name
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
    """The word behind `streamcluster` in code of any page, without options, file names and imports."""
    code = re.findall(r"`([^`\n]+)`|^    (.+)$", "\n".join(PAGES.values()), re.MULTILINE)
    found = [re.match(r"(?:\$ |\.venv/bin/)?streamcluster ([a-z]\w+)\b(?!:)", one or two) for one, two in code]
    return sorted({match[1] for match in found if match})


def names_not_offered() -> list[str]:
    """The names that docs/faust.md lists as not there yet."""
    return [
        name
        for row in table("docs/faust.md", "| name |")
        for name in re.findall(r"\b(?:app|agent|stream|table|topic)\.\w+", row[0])
    ]


def test_readme_is_short() -> None:
    """It is read in one go; what is longer has a page of its own."""
    assert len(README.splitlines()) <= README_LINES_MAX


def test_settings_page_is_the_codes() -> None:
    """docs/settings.md is what scripts/settings.py makes now: each setting with its type, default, bounds and text."""
    made = runpy.run_path(str(CHECKOUT / "scripts/settings.py"))["document"]()
    assert PAGES["docs/settings.md"] == made, "run .venv/bin/python scripts/settings.py"


def test_every_exit_code_is_listed() -> None:
    """The table has each exit code, in order, under its name."""
    assert [(row[0], row[1]) for row in table("docs/running.md", "| code |")] == [
        (str(int(code)), code.name) for code in ExitCode
    ]


def test_slot_table_is_the_machines() -> None:
    """Page and docstring have the transitions of machine/slots.py, cell by cell."""
    triggers = get_args(Trigger)
    expected = [[state, *(moves.get(trigger, "") for trigger in triggers)] for state, moves in TRANSITIONS.items()]
    assert table("docs/internals.md", "| state | start |") == expected
    assert written(machine_slots.__doc__) == expected


def test_task_table_is_the_life_cycles() -> None:
    """Page and docstring have what the life cycle does with each event in each state, cell by cell."""
    expected = [[state, *(target(state, event) for event in TASK_EVENTS)] for state in TASK_STATES]
    assert table("docs/internals.md", "| state | granted |") == expected
    assert written(lifecycle.__doc__) == expected


@pytest.mark.parametrize("pages", [("README.md",), ("README.md", "docs/guide.md")])
def test_app_and_its_test_run(tmp_path: Path, pages: tuple[str, ...]) -> None:
    """The README's app and its test pass as they stand, alone and with what the guide adds to them."""
    for name in ("shop.py", "test_shop.py"):
        (tmp_path / name).write_text(blocks(name, *pages))
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


def test_commands_of_the_readme_say_which_app() -> None:
    """The first command in the third terminal works as it stands: it has -A, or the variable was set before."""
    lines = [line.strip() for line in README.splitlines() if line.startswith("    $ ")]
    app_known = False
    for line in lines:
        app_known = app_known or "STREAMCLUSTER_APP=" in line
        assert app_known or " -A " in line, line


@pytest.mark.parametrize("name", commands_mentioned())
def test_commands_exist(name: str) -> None:
    """Each `streamcluster COMMAND` that a page mentions is one."""
    assert isinstance(command_line, Group)
    assert command_line.get_command(Context(command_line), name) is not None


@pytest.mark.parametrize("name", names_not_offered())
def test_what_is_not_there_says_so(name: str) -> None:
    """Each name that docs/faust.md lists as missing raises NotOffered when it is used."""
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


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Each file that a page links to is there, and each heading that it refers to."""
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = (CHECKOUT / page).parent / path if path else CHECKOUT / page
        assert target.exists(), link
        assert not heading or heading in headings_of(target.read_text(encoding="utf-8")), link


def test_all_pages_are_found_from_the_readme() -> None:
    """The README links to each page of docs."""
    assert {page for page in PAGES if page.startswith("docs/")} - set(re.findall(r"\]\(([^)#\s]+)", README)) == set()


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_are_there(page: str) -> None:
    """Each Python file that a page names in code is one, by the end of its path: files move."""
    ours = [path.as_posix() for folder in FOLDERS for path in CHECKOUT.joinpath(folder).rglob("*") if path.is_file()]
    named = re.findall(r"`(?:\S*\s)?([\w./-]+\.(?:py|c))\b[^`\n]*`", PAGES[page])
    missing = [
        name for name in named if name not in OF_USERS and not any(f"/{one}".endswith(f"/{name}") for one in ours)
    ]
    assert missing == []
