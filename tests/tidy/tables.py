"""What the tidy rules allow: one place to read, and to argue about, every layer, allow-list and exception.

Paths are relative to the checkout and may hold `*`. Decides nothing; must not know how a rule looks for violations.
"""

from __future__ import annotations

PACKAGES = {  # source root -> the one package in it
    "cluster": "streamcluster",
    "worker": "streamcluster_worker",
    "coordinator": "streamcluster_coordinator",
}

# Which files may name a module, by import or in a string. A module that is not here may be imported anywhere
# (but for PARTS below). Tests are free: they look at everything from outside.
ALLOWED_IN: dict[str, tuple[str, ...]] = {
    "confluent_kafka": (
        "cluster/streamcluster/kafka/*.py",
        "worker/streamcluster_worker/kafka/*.py",
        "coordinator/streamcluster_coordinator/admin/*.py",
        "coordinator/streamcluster_coordinator/control/*.py",
        "coordinator/streamcluster_coordinator/broker/*.py",
    ),
    "rocksdict": (
        "worker/streamcluster_worker/state/families.py",
        "worker/streamcluster_worker/state/rocks.py",
        "worker/streamcluster_worker/state/rocks_shard.py",
        "worker/streamcluster_worker/state/memory.py",
    ),
    "uvloop": ("worker/streamcluster_worker/main.py",),
    "streamcluster_worker": ("coordinator/streamcluster_coordinator/shell/entry.py",),
    # Launchers: `python -m streamcluster` and `App.main()` start the CLI when called; nothing else looks up.
    "streamcluster_coordinator": ("cluster/streamcluster/__main__.py", "cluster/streamcluster/running_here.py"),
}

# Parts of a package that not every file of it may import -> who may. They may import the rest of it.
PARTS: dict[str, tuple[str, ...]] = {
    # User code and the engine must run, and be tested, without a Kafka client.
    "streamcluster.kafka": (
        "cluster/streamcluster/kafka/*.py",
        "worker/streamcluster_worker/*",
        "coordinator/streamcluster_coordinator/*",
    ),
}

# Files that decide and never act: they may import no other file of ours that is not pure. Folders first, and then what
# lies in folders that are not pure as a whole.
PURE = (
    "*/machine/*.py",
    "*/records/*.py",
    "*/backlog.py",
    "*/lifecycle.py",
    "*/placement/*.py",
    "*/protocol/*.py",
    "cluster/streamcluster/topology/__init__.py",
    "cluster/streamcluster/topology/resolve.py",
    "cluster/streamcluster/open_files.py",
    "cluster/streamcluster/memory.py",
    "*/memory_pool.py",
    "cluster/streamcluster/batch_end.py",
    "cluster/streamcluster/outside.py",
    "cluster/streamcluster/printable.py",
    "cluster/streamcluster/codecs/surrogates.py",
    "*/settings.py",
    "cluster/streamcluster/config/bounds.py",
    "cluster/streamcluster/config/hidden.py",
    "*/ids.py",
    "cluster/streamcluster/times.py",
    "*/errors.py",
    "*/faust_names.py",
    "*/checks.py",
    "coordinator/streamcluster_coordinator/answers/peer_auth.py",
    "coordinator/streamcluster_coordinator/answers/ownership.py",
)

# Modules that a pure file may not import: clocks, randomness, logs, loops, threads, processes, files, sockets, Kafka.
IMPURE_MODULES = frozenset(
    """
    time random secrets uuid logging structlog asyncio uvloop threading multiprocessing concurrent subprocess
    signal socket select selectors os sys shutil tempfile pathlib io contextvars psutil click rich
    confluent_kafka rocksdict importlib
    """.split()  # noqa: SIM905 - a list of this length reads better in one block
)
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__"})
CLOCK_READS = frozenset({"now", "utcnow", "today"})  # of datetime and date, which are fine as values

# A class's attributes are written in its own module. Where the class is -> files that may write them too, and why.
WRITTEN_IN: dict[str, tuple[tuple[str, ...], str]] = {
    "coordinator/streamcluster_coordinator/machine/slots.py": (
        ("coordinator/streamcluster_coordinator/machine/*.py",),
        "the state of the machine, which its pure functions change",
    ),
    "cluster/streamcluster/engine/*.py": (
        ("cluster/streamcluster/engine/*.py", "cluster/streamcluster/testing/*.py"),
        "parts of one engine that still write each other's attributes, and the driver around it",
    ),
    "cluster/streamcluster/current.py": (
        ("cluster/streamcluster/engine/*.py", "cluster/streamcluster/headers.py"),
        "a run's cursor, which intakes advance for each record without a call",
    ),
    "cluster/streamcluster/app.py": (
        (
            "cluster/streamcluster/engine/functions.py",
            "worker/streamcluster_worker/main.py",
            "coordinator/streamcluster_coordinator/cli/target.py",
        ),
        "users have the app in hand: what they must not set has no method",
    ),
    "cluster/streamcluster/tables.py": (("cluster/streamcluster/engine/local_tables.py",), "as app.py"),
    "cluster/streamcluster/topics.py": (("cluster/streamcluster/topology/declare.py",), "as app.py"),
}

FUNCTION_LINES_MAX = 80
FUNCTION_PARAMETERS_MAX = 8
FILE_LINES_MAX = 420
CLASS_METHODS_MAX = 25

# Methods of libraries -> what happens, and what to call instead.
CRASHING_CALLS = {
    "delete_records": "librdkafka 2.16 may free memory twice when it has to ask who leads; "
    "call kafka.purging.delete_behind, which has asked before",
    "list_offsets": "librdkafka 2.16 may free memory twice when it has to ask who leads; "
    "use Consumer.offsets_for_times",
    "list_consumer_group_offsets": "librdkafka 2.16 may read freed memory while the group's coordinator is not ready; "
    "use Consumer.committed",
}

BANNED_WORDS = frozenset(
    """
    util utils helper helpers common base manager managers handler handlers service services
    """.split()  # noqa: SIM905 - a list of this length reads better in one block
)

# What a class may inherit from, directly or through classes of ours. Builtin exceptions are allowed too.
ROOTS = frozenset(
    """
    typing.Protocol typing.Generic typing.TypedDict typing.NamedTuple enum.Enum enum.IntEnum enum.StrEnum
    enum.Flag enum.IntFlag msgspec.Struct
    """.split()  # noqa: SIM905 - a list of this length reads better in one block
)
TEST_ROOTS = frozenset({"asyncio.Protocol", "pydantic.BaseModel", "hypothesis.stateful.RuleBasedStateMachine"})

# (rule, file, name) -> why. An entry that excuses nothing fails the tests.
EXCEPTIONS: dict[tuple[str, str, str], str] = {
    ("crashing_calls", "worker/streamcluster_worker/kafka/purging.py", "delete_records"): "it knows who leads by then",
    ("crashing_calls", "tests/worker/changelogs.py", "delete_records"): "a test's own client, of one broker that leads",
    ("allowed_importers", "cluster/streamcluster/config/logs.py", "streamcluster_worker"): "the name of a logger",
    ("allowed_importers", "cluster/streamcluster/config/logs.py", "streamcluster_coordinator"): "the name of a logger",
    ("parameters", "cluster/streamcluster/app.py", "topic"): "Faust's arguments, given by name",
    ("parameters", "cluster/streamcluster/tables.py", "__init__"): "Faust's arguments, given by name",
    (
        "foreign_writes",
        "worker/streamcluster_worker/user/randomness.py",
        "state",
    ): "numpy's own, which only has the name of ours",
    (
        "foreign_writes",
        "coordinator/streamcluster_coordinator/admin/brokers.py",
        "config",
    ): "confluent-kafka's own, which only has the name of ours",
    ("inheritance", "cluster/streamcluster/tables.py", "Table"): "users and libraries test for MutableMapping",
    ("inheritance", "cluster/streamcluster/windows/windowed.py", "WindowedTable"): "it is joined as tables are",
    (
        "inheritance",
        "cluster/streamcluster/models/record.py",
        "RecordMeta",
    ): "class options need a metaclass, and msgspec allows only subclasses of its own",
    (
        "inheritance",
        "coordinator/streamcluster_coordinator/cli/__init__.py",
        "_Commands",
    ): "click asks a group for commands",
    ("inheritance", "tests/codecs/kinds.py", "Text"): "what people have, and tables refuse",
    ("inheritance", "tests/codecs/kinds.py", "Whole"): "what people have, and tables refuse",
    ("inheritance", "tests/codecs/kinds.py", "Kept"): "what people have, and tables refuse",
    (
        "no_sleep_in_tests",
        "tests/bench/clock.py",
        "time.sleep",
    ): "a bench samples at intervals and paces by the clock",
}
