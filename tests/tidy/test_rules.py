"""Each tidy rule is shown code that breaks it and code that does not, so that no rule can pass by seeing nothing."""

from __future__ import annotations

import pytest

from .rules import RULES, stale, unexcused, violations
from .source import Source, parse

CLUSTER = "cluster/streamcluster/shop.py"
WORKER = "worker/streamcluster_worker/shop.py"
COORDINATOR = "coordinator/streamcluster_coordinator/shop.py"
PURE_FILE = "coordinator/streamcluster_coordinator/machine/local.py"
TEST = "tests/cluster/test_shop.py"


def lines(count: int) -> str:
    return "    x = 1\n" * count


def methods(count: int) -> str:
    return "class Shop:\n" + "".join(f"    def m{i}(self): ...\n" for i in range(count))


# rule -> path and text of a file that breaks it exactly once
BROKEN: list[tuple[str, str, str]] = [
    ("allowed_importers", CLUSTER, "import streamcluster_worker"),
    ("allowed_importers", CLUSTER, "from streamcluster_worker.main import main"),
    ("allowed_importers", CLUSTER, "from streamcluster_coordinator import cli"),
    ("allowed_importers", CLUSTER, "import_module('streamcluster_coordinator.cli')"),
    ("allowed_importers", WORKER, "from streamcluster_coordinator.machine.local import Machine"),
    ("allowed_importers", COORDINATOR, "from streamcluster_worker.main import main"),
    ("allowed_importers", COORDINATOR, "entry = 'streamcluster_worker.main:main'"),
    ("allowed_importers", COORDINATOR, "def start():\n    import streamcluster_worker.main as entry"),
    ("allowed_importers", WORKER, "from confluent_kafka import Producer"),
    ("allowed_importers", CLUSTER, "try:\n    import confluent_kafka.admin\nexcept ImportError:\n    raise"),
    ("allowed_importers", WORKER, "from rocksdict import Rdict"),
    ("allowed_importers", COORDINATOR, "import uvloop"),
    ("importers_of_parts", CLUSTER, "from .kafka.verdicts import classify"),
    ("importers_of_parts", CLUSTER, "from . import kafka"),
    ("importers_of_parts", CLUSTER, "def open():\n    import streamcluster.kafka.opening as opening"),
    ("importers_of_parts", "cluster/streamcluster/engine/pump.py", "from ..kafka import offsets"),
    ("relative_inside_absolute_across", CLUSTER, "from streamcluster.ids import TP"),
    ("relative_inside_absolute_across", WORKER, "import streamcluster_worker.commit as commit"),
    ("relative_inside_absolute_across", WORKER, "from ..cluster import ids"),
    ("no_type_checking_imports", CLUSTER, "import typing\nif typing.TYPE_CHECKING:\n    import x"),
    ("no_type_checking_imports", TEST, "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import x"),
    ("purity", PURE_FILE, "import time"),
    ("purity", PURE_FILE, "from random import choice"),
    ("purity", PURE_FILE, "from os.path import join"),
    ("purity", PURE_FILE, "import asyncio.events as events"),
    ("purity", PURE_FILE, "def now():\n    import logging"),
    ("purity", PURE_FILE, "from datetime import datetime\nat = datetime.now()"),
    ("purity", PURE_FILE, "import datetime\nat = datetime.datetime.utcnow()"),
    ("purity", PURE_FILE, "text = open('x')"),
    ("purity", PURE_FILE, "from ..shell.fleet import Fleet"),
    ("purity", PURE_FILE, "from ..shell import fleet"),
    ("purity", PURE_FILE, "from streamcluster.config.logs import log"),
    ("file_size", CLUSTER, "x = 1\n" * 421),
    ("function_size", CLUSTER, "def sell():\n" + lines(80)),
    ("function_size", TEST, "class Shop:\n    async def sell(self):\n" + "        x = 1\n" * 80),
    ("class_size", CLUSTER, methods(26)),
    ("parameters", CLUSTER, "def sell(a, b, /, c, d, *, e, f, g, h, i): ..."),
    ("parameters", WORKER, "class Shop:\n    def sell(self, a, b, c, d, e, f, g, h, i): ..."),
    ("banned_names", "cluster/streamcluster/http_utils.py", ""),
    ("banned_names", "tests/common/test_shop.py", ""),
    ("banned_names", CLUSTER, "class HTTPHandler: ..."),
    ("banned_names", CLUSTER, "class Shop:\n    async def call_service(self): ..."),
    ("file_docstring", CLUSTER, "import x"),
    ("file_docstring", "worker/streamcluster_worker/__init__.py", ""),
    ("file_docstring", CLUSTER, "'''   '''"),
    ("docstring_of_tests", TEST, "def test_shop():\n    assert shop"),
    ("docstring_of_tests", TEST, "class TestShop:\n    async def test_shop(self):\n        assert shop"),
    ("swallowed_exceptions", CLUSTER, "try:\n    x()\nexcept:\n    raise"),
    ("swallowed_exceptions", TEST, "try:\n    x()\nexcept Exception:\n    pass"),
    (
        "swallowed_exceptions",
        CLUSTER,
        "for x in y:\n    try:\n        x()\n    except (A, BaseException):\n        continue",
    ),
    ("swallowed_exceptions", CLUSTER, "import contextlib\nwith contextlib.suppress(Exception):\n    x()"),
    ("no_sleep_in_tests", TEST, "import time\ntime.sleep(1)"),
    ("no_sleep_in_tests", "tests/kafka/conftest.py", "from time import sleep as pause\npause(0.1)"),
    ("crashing_calls", WORKER, "found = client.admin.list_offsets({}, request_timeout=1)"),
    ("crashing_calls", TEST, "admin.list_consumer_group_offsets([])"),
    ("inheritance", CLUSTER, "class Shop: ...\nclass Bakery(Shop): ..."),
    ("inheritance", CLUSTER, "import threading\nclass Shop(threading.Thread): ..."),
    ("inheritance", CLUSTER, "from .elsewhere import Shop\nclass Bakery(Shop): ..."),
    ("inheritance", CLUSTER, "class Shop(make_class()): ..."),
    ("inheritance", CLUSTER, "import pydantic\nclass Shop(pydantic.BaseModel): ..."),
    ("no_import_cycles", CLUSTER, "from .shop import sell"),
]

# rule -> path and text of a file that looks close to breaking it, and does not
CLEAN: list[tuple[str, str, str]] = [
    ("allowed_importers", "coordinator/streamcluster_coordinator/shell/entry.py", "import streamcluster_worker.main"),
    ("allowed_importers", "cluster/streamcluster/__main__.py", "from streamcluster_coordinator.cli import main"),
    ("allowed_importers", "cluster/streamcluster/kafka/opening.py", "import confluent_kafka"),
    ("allowed_importers", TEST, "import confluent_kafka, rocksdict, streamcluster_worker.main"),
    ("allowed_importers", CLUSTER, "'''Tells streamcluster_worker what to do.'''\nuses = 'rocksdict'"),
    ("importers_of_parts", WORKER, "from streamcluster.kafka.verdicts import classify"),
    ("importers_of_parts", COORDINATOR, "from streamcluster.kafka import opening"),
    ("importers_of_parts", "cluster/streamcluster/kafka/offsets.py", "from .opening import connect"),
    ("importers_of_parts", CLUSTER, "from .kafka_names import names"),
    ("relative_inside_absolute_across", WORKER, "from streamcluster.ids import TP\nfrom .commit import commit"),
    ("relative_inside_absolute_across", TEST, "from streamcluster.ids import TP"),
    ("no_type_checking_imports", CLUSTER, "'''Without TYPE_CHECKING.'''"),
    ("purity", COORDINATOR, "import time, os"),
    ("purity", PURE_FILE, "from datetime import datetime, timedelta\nfrom streamcluster.ids import TP\nx.now()"),
    ("purity", PURE_FILE, "from .balance import balance\nfrom . import events"),
    ("file_size", CLUSTER, "x = 1\n" * 420),
    ("function_size", CLUSTER, "def sell():\n" + lines(79)),
    ("class_size", CLUSTER, methods(25)),
    ("parameters", TEST, "def sell(a, b, c, d, e, f, g, h, i): ..."),
    ("parameters", CLUSTER, "class Shop:\n    def sell(self, a, b, c, d, e, f, g, h, *i, **j): ..."),
    ("class_size", CLUSTER, methods(25) + "    @overload\n    def m1(self): ...\n"),
    ("banned_names", TEST, "def test_a_common_key(): ...\ndef decode_base64(): ...\nclass Baseline: ..."),
    ("file_docstring", CLUSTER, '"""Sells."""'),
    ("docstring_of_tests", TEST, 'def test_shop():\n    """It sells."""'),
    ("docstring_of_tests", CLUSTER, "def test_shop(): ..."),
    ("swallowed_exceptions", CLUSTER, "try:\n    x()\nexcept KeyError:\n    pass\nexcept Exception as e:\n    say(e)"),
    ("no_sleep_in_tests", CLUSTER, "import time\ntime.sleep(1)"),
    ("crashing_calls", WORKER, "consumer.offsets_for_times([])\ndef list_offsets(): ..."),
    (
        "no_sleep_in_tests",
        TEST,
        "import time, asyncio\nasync def x():\n    await asyncio.sleep(0)\n    time.monotonic()",
    ),
    (
        "inheritance",
        CLUSTER,
        "from typing import Generic, Protocol\nclass A(Protocol): ...\nclass B(A, Generic[T]): ...",
    ),
    (
        "inheritance",
        CLUSTER,
        "import msgspec\nclass A(msgspec.Struct, tag=True): ...\nclass B(A): ...\nclass C(B): ...",
    ),
    ("inheritance", CLUSTER, "class A(ValueError): ...\nclass B(A): ..."),
    ("inheritance", TEST, "import pydantic\nclass Shop(pydantic.BaseModel): ..."),
    ("no_import_cycles", CLUSTER, "from .ids import TP\ndef sell():\n    from .shop import sell"),
]


def checked(rule: str, path: str, text: str) -> list[str]:
    return [one.rule for one in violations(rule, [parse(path, text)])]


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN)
def test_rule_sees_a_seeded_violation(rule: str, path: str, text: str) -> None:
    """The rule reports the one violation in the file, under its own name."""
    assert checked(rule, path, text) == [rule]


@pytest.mark.parametrize(("rule", "path", "text"), CLEAN)
def test_rule_leaves_clean_code_alone(rule: str, path: str, text: str) -> None:
    """Code that only looks like a violation is not reported."""
    assert checked(rule, path, text) == []


def test_every_rule_is_shown_both_kinds_of_code() -> None:
    """A rule that is added without a seeded violation and a clean twin fails here."""
    with_tests_of_their_own = {"foreign_writes"}
    assert {rule for rule, _, _ in BROKEN} == set(RULES) - with_tests_of_their_own
    assert {rule for rule, _, _ in CLEAN} == set(RULES) - with_tests_of_their_own


def test_cycle_through_three_files_is_seen() -> None:
    """A cycle is found over several files and both ways of writing a relative import, and named in full."""
    files = {"a": "from . import b", "b": "from .c import x", "c": "import y\nfrom .a import z"}
    sources = [parse(f"worker/streamcluster_worker/{name}.py", text) for name, text in files.items()]
    (found,) = violations("no_import_cycles", sources)
    assert all(f"streamcluster_worker.{name}" in found.text for name in files)
    assert violations("no_import_cycles", sources[:2]) == []


def test_inheritance_is_followed_through_other_files() -> None:
    """A class from another file, re-exported by the package, counts as what it is where it was defined."""
    defined = parse(
        "cluster/streamcluster/models.py", "import msgspec\nclass Record(msgspec.Struct): ...\nclass Shop: ..."
    )
    exported = parse("cluster/streamcluster/__init__.py", "from .models import Record, Shop")
    allowed = parse(TEST, "import streamcluster\nclass Order(streamcluster.Record): ...")
    forbidden = parse(TEST, "from streamcluster import Shop\nclass Bakery(Shop): ...")
    sources: list[Source] = [defined, exported, allowed, forbidden]
    assert [one.name for one in violations("inheritance", sources)] == ["Bakery"]


SHOP = "class Shop:\n    owner: str\n    def sell(self):\n        self.sold = 1\n"


def test_attributes_are_written_by_their_own_module() -> None:
    """Fields and what methods set may be read anywhere, and written where their class is."""
    defined = parse(CLUSTER, SHOP + "def close(shop):\n    shop.owner = ''\n    del shop.sold\n")
    reads = parse(WORKER, "def owner_of(shop):\n    shop.unknown = shop.owner\n    return shop.sold\n")
    writes = parse(COORDINATOR, "def rob(shop):\n    shop.owner = ''\n    shop.till.sold += 1\n    del shop.owner\n")
    found = violations("foreign_writes", [defined, reads, writes])
    assert sorted((one.path, one.name) for one in found) == [
        (COORDINATOR, "owner"),
        (COORDINATOR, "owner"),
        (COORDINATOR, "sold"),
    ]


def test_attributes_may_be_written_where_the_table_says() -> None:
    """The functions of a folder may share a record of it, which the folder's neighbours may not write."""
    folder = "coordinator/streamcluster_coordinator/machine"
    defined = parse(f"{folder}/slots.py", SHOP)
    written = "def rob(shop):\n    shop.owner = ''\n"
    beside, outside = parse(f"{folder}/moves.py", written), parse(COORDINATOR, written)
    assert [one.path for one in violations("foreign_writes", [defined, beside, outside])] == [outside.path]


def test_exception_excuses_its_violation_only() -> None:
    """An entry of the exceptions table covers one rule, file and name; without its violation it is stale."""
    found = violations("class_size", [parse(CLUSTER, methods(26)), parse(WORKER, methods(26))])
    entry = ("class_size", CLUSTER, "Shop")
    assert [one.path for one in unexcused(found, {entry: "why"})] == [WORKER]
    assert stale(found, {entry: "why"}) == []
    assert stale(found[1:], {entry: "why"}) == [entry]
