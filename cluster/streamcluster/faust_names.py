"""The names that Faust has and streamcluster does not: for each, why, and what to use instead.

Data and one class decorator; what is offered is declared where it belongs. Faust's inventory is faust-streaming 0.15.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, NoReturn, ParamSpec, TypeVar

from .errors import NotOffered

C = TypeVar("C", bound=type)
P = ParamSpec("P")
R = TypeVar("R")

_WEB = "there is no web server yet; run a web framework beside the app and read `streamcluster table --json`."
_FROM_OTHER = "write it from the other side: other.left_join(table), whose rows are (of other, of this table)."
_JOINS = "use table.join(other), or left_join, outer_join."
_START = "use `streamcluster start -A module:app`, or app.main()."
_CLIENT = "the coordinator and the workers own the Kafka clients; from outside use a Kafka producer."
_ACK = "an event is finished when the next one is asked for, also under exactly once; on_error= decides about failures."
_TOPICS = "topics are created and checked before the first worker starts: declare app.topic(..., partitions=N)."
_MONITOR = "read `streamcluster status --json`; metrics are not there yet."
_TYPES = "annotate with the class itself: App, Agent, Event, Record, Stream, Table, Topic."
_FIELDS = "annotate the field with its Python type, and check more in __post_init__."
_REPLIES = "replies are not there yet; let the agent send its answer to a topic that you read."
_TRACING = "tracing is not there yet."
_SUPERVISOR = "an agent is retried by its on_error= policy; a worker that dies is replaced."

WINDOWS: dict[str, str] = {
    "SlidingWindow": "no table of Faust's can use it; call .sliding(size) or .hopping(size, step) on the table.",
    "Window": "annotate with TumblingWindow or HoppingWindow; what on_close gets is a (start, end).",
}
# Names of the package: `streamcluster.Schema`, `from streamcluster import Schema`.
MODULE: dict[str, str] = {
    "Channel": "use an asyncio.Queue inside a worker, or a topic between workers.",
    "GlobalTable": "read another worker's entries with `streamcluster table`, or key the events to the table.",
    "SetTable": "use app.Table(name, default=set); changes in place are kept.",
    "SetGlobalTable": "use app.Table(name, default=set).",
    "Schema": "give app.topic key_type=, value_type=, key_serializer= and value_serializer=.",
    "ModelOptions": "options are keywords on the class line: class Order(Record, coerce=True).",
    "Monitor": _MONITOR,
    "Sensor": _MONITOR,
    "Worker": _START,
    "Service": "use @app.task.",
    **WINDOWS,
    "uuid": "use str(uuid.uuid4()).",
    "web": _WEB,
    "cli": "write a script of your own that imports the app.",
    "types": _TYPES,
    "livecheck": "there are no plans for it.",
    "sensors": _MONITOR,
    "serializers": "codecs are in streamcluster.codecs.",
    **dict.fromkeys(("AppT", "ChannelT", "EventT", "StreamT", "TopicT", "TableT", "AgentT", "ServiceT"), _TYPES),
}

MODELS: dict[str, str] = {
    **dict.fromkeys(
        (
            "FieldDescriptor",
            "NumberField",
            "StringField",
            "IntegerField",
            "FloatField",
            "DecimalField",
            "BooleanField",
            "DatetimeField",
            "BytesField",
        ),
        _FIELDS,
    ),
    "fields": _FIELDS,
    "tags": "Secret, Sensitive and Personal are not there yet; give the field a type of your own with a masked repr.",
    "registry": "declare a union of records that carry tag=True on their class line.",
}

APP: dict[str, str] = {
    **{name: MODULE[name] for name in ("GlobalTable", "SetTable", "SetGlobalTable", "Worker")},
    "LiveCheck": MODULE["livecheck"],
    "channel": MODULE["Channel"],
    "crontab": "use app.timer and look at the clock.",
    "command": MODULE["cli"],
    "service": MODULE["Service"],
    "discover": "import the modules from the module that has the app.",
    "config_from_object": "give keywords to App(...), or a streamcluster.toml, environment variables or options.",
    "commit": "commits follow the events by themselves.",
    "send": "use topic.send or agent.send.",
    **dict.fromkeys(("page", "table_route", "topic_route", "web_server", "web", "router", "cache"), _WEB),
    "http_client": "make a client of your own in an @app.task or in the agent, for example aiohttp.ClientSession().",
    **dict.fromkeys(("start", "stop"), _START),
    **dict.fromkeys(
        (
            "start_client",
            "maybe_start_client",
            "maybe_start_producer",
            "producer_only",
            "client_only",
            "producer",
            "consumer",
            "transport",
        ),
        _CLIENT,
    ),
    "finalize": "the app is finalized when it is started.",
    **dict.fromkeys(("monitor", "sensors"), _MONITOR),
    **dict.fromkeys(("trace", "traced", "tracer"), _TRACING),
    **dict.fromkeys(
        ("rebalancing", "in_recovery", "in_transaction"),
        "a task runs only once it has been restored, so code of the app never sees it; `streamcluster status` does.",
    ),
    "should_stop": "a task is cancelled when the worker stops: clean up in `finally`.",
    "sleep": "use asyncio.sleep; a task is cancelled when the worker stops.",
    **dict.fromkeys(
        ("flow_control", "FlowControlQueue"), "tests use streamcluster.testing.Driver, which needs no broker."
    ),
    "assignor": "the coordinator places the tasks; `streamcluster status` shows where.",
    "serializers": MODULE["serializers"],
    "label": "use app.conf.app_id.",
}

TOPIC: dict[str, str] = {
    "stream": "use app.stream(topic), which knows the app.",
    **dict.fromkeys(("declare", "maybe_declare"), _TOPICS),
    **dict.fromkeys(("get", "put", "empty"), "read a topic in an agent or through app.stream(topic)."),
    **dict.fromkeys(("derive", "derive_topic", "clone"), "declare another topic with app.topic(...)."),
    **dict.fromkeys(
        ("on_key_decode_error", "on_value_decode_error", "on_decode_error"),
        "the setting error_action says where records go that do not decode; they come with the reason in headers.",
    ),
}
TOPIC_ARGUMENTS: dict[str, str] = {
    "schema": MODULE["Schema"],
    "acks": _ACK,
    "maxsize": "what waits for agents is bounded by the setting stream_buffer_records_max.",
    "allow_empty": "a record without a value is always an event, with the value None.",
    "has_prefix": "topics have the name that you give them.",
}

AGENT: dict[str, str] = {
    **dict.fromkeys(("ask", "ask_nowait", "map", "kvmap", "join", "kvjoin"), _REPLIES),
    "test_context": "use streamcluster.testing.Driver(app): it runs the agent, its tables and its sinks.",
    **dict.fromkeys(("info", "clone", "cancel", "actor_tracebacks"), "the workers run agents; see `status`, USR1."),
    "get_topic_names": "use agent.topic.names.",
}
AGENT_ARGUMENTS: dict[str, str] = {"supervisor_strategy": _SUPERVISOR, "use_reply_headers": _REPLIES}

STREAM: dict[str, str] = {
    **dict.fromkeys(("noack", "noack_take", "ack"), _ACK),
    "take_with_timestamp": "use take_events: event.message.timestamp.",
    "derive_topic": TOPIC["derive_topic"],
    "throw": "raise the exception inside the agent.",
    "stop": "leave the loop with `break`.",
    **dict.fromkeys(("info", "clone", "get_active_stream", "get_root_stream"), "streams are made by app.stream."),
    **dict.fromkeys(("events_total", "active_partitions", "concurrency_index", "task_owner"), _MONITOR),
}

EVENT: dict[str, str] = {"ack": _ACK, "acked": _ACK, "app": "import the app."}

TABLE: dict[str, str] = {
    **dict.fromkeys(
        ("relative_to_stream", "relative_to_now", "relative_to_field"), "call it on what table.tumbling(...) returns."
    ),
    "combine": _JOINS,
    "right_join": _FROM_OTHER,
    "reset_state": "stop the app and use `streamcluster reset`.",
    **dict.fromkeys(("persisted_offset", "partition_for_key", "send_changelog"), "the worker does this by itself."),
    **dict.fromkeys(("info", "clone"), "use `streamcluster tables`."),
    **dict.fromkeys(
        ("on_key_get", "on_key_set", "on_key_del", "on_clear", "on_changelog_event"),
        "tables have no such hooks yet; do it in the agent that writes the table.",
    ),
}
_NO_KEYS = "windows need no index of their keys: use .items(), .keys() and .values()."
WINDOWED: dict[str, str] = {
    **dict.fromkeys(("key_index", "key_index_table", "on_set_key", "on_del_key"), _NO_KEYS),
    "as_ansitable": "use `streamcluster table NAME`.",
    "clone": "call .relative_to(...): it gives a table of its own over the same windows.",
    **dict.fromkeys(("get_relative_timestamp", "get_timestamp"), "use event.message.timestamp, or the field."),
    "suppress": "give out each window when it is over, with @table.on_close; or read table.changes(every=60).",
    "get": "read windows by table[key].value(), .now() or .windows(start, end).",
    **dict.fromkeys(("pop", "popitem", "clear"), "delete windows by del table[key]."),
    **dict.fromkeys(("update", "setdefault"), "write windows by table[key]."),
    "right_join": _FROM_OTHER,
    "combine": _JOINS,
}
WINDOW: dict[str, str] = {"stale": "windows go as event time passes them: see grace= and expires=."}
_OPTIONS = "memory of all stores is set by store_block_cache_bytes and store_write_buffer_bytes."
TABLE_ARGUMENTS: dict[str, str] = {
    "store": "the setting store is for all tables of the app.",
    "schema": "give key_type=, value_type=, key_serializer= and value_serializer=.",
    "options": _OPTIONS,
    **dict.fromkeys(("recovery_buffer_size", "standby_buffer_size"), "restores are bounded by themselves."),
    "recover_callbacks": "use on_recover=, or @table.on_recover.",
    "use_partitioner": "a table lives with the events: group_by brings them to the key's partition.",
    **dict.fromkeys(("is_global", "synchronize_all_active_partitions"), MODULE["GlobalTable"]),
    "on_changelog_event": TABLE["on_changelog_event"],
}

FUNCTION_ARGUMENTS: dict[str, str] = {
    "traced": _TRACING,
    "max_drift_correction": "a timer keeps to multiples of its interval by itself.",
}

_CLIENT_OPTION = "give librdkafka's own name in broker_options, where that has one."
_LIVENESS = "workers are in no consumer group: see transaction_timeout, stall_timeout and crash_loop_window."
SETTINGS: dict[str, str] = {
    "datadir": "use state_dir.",
    "tabledir": "use state_dir.",
    "broker_commit_interval": "use commit_interval.",
    "broker_commit_every": "use commit_events_max.",
    "broker_client_id": "the client id is the app id.",
    "stream_buffer_maxsize": "use stream_buffer_records_max, which is per worker.",
    "consumer_max_fetch_size": "use consumer_prefetch_bytes.",
    "broker_max_poll_records": "use consumer_batch_records_max.",
    "table_cleanup_interval": "windows go as event time passes them.",
    "table_standby_replicas": "standby copies are not there yet.",
    "stream_processing_timeout": "use asyncio.timeout in the agent; stall_timeout is for a blocked event loop.",
    "ssl_context": "use ssl_ca_location and its neighbours: workers are other processes.",
    "autodiscover": APP["discover"],
    "origin": APP["discover"],
    "config_source": APP["config_from_object"],
    "monitor": _MONITOR,
    "loop": "workers run on uvloop.",
    "debug": "use log_level='debug'.",
    "timezone": APP["crontab"],
    "cache": _WEB,
    "logging_config": "configure logging in the module that has the app, or use log_level and log_format.",
    "loghandlers": "configure logging in the module that has the app.",
    "agent_supervisor": _SUPERVISOR,
    "producer_acks": "outputs are part of a transaction, or idempotent, so all replicas in sync must have them.",
    "producer_linger": _CLIENT_OPTION,
    "producer_partitioner": "keys go to partitions as in Java; give partition= to topic.send for another one.",
    "topic_disable_leader": "on_leader tasks need no topic.",
    "worker_redirect_stdouts": "what the app prints goes to stdout as it is.",
    "worker_redirect_stdouts_level": "what the app prints goes to stdout as it is.",
    "producer_threaded": "send_soon works everywhere.",
    **dict.fromkeys(("broker_consumer", "broker_producer"), "use broker."),
    **dict.fromkeys(
        ("broker_api_version", "broker_check_crcs", "broker_request_timeout", "producer_max_batch_size"),
        _CLIENT_OPTION,
    ),
    **dict.fromkeys(
        (
            "broker_heartbeat_interval",
            "broker_session_timeout",
            "broker_rebalance_timeout",
            "broker_max_poll_interval",
            "consumer_group_instance_id",
        ),
        _LIVENESS,
    ),
    **dict.fromkeys(("reply_create_topic", "reply_to", "reply_to_prefix", "reply_expires"), _REPLIES),
    **dict.fromkeys(("web", "web_enabled", "web_port", "web_host", "web_bind", "web_transport", "canonical_url"), _WEB),
}


def refuse(arguments: Iterable[str], known: Mapping[str, str], owner: str) -> None:
    """Raise NotOffered for the first of `arguments` that Faust has; owner: how the call begins ("app.topic")."""
    for name in arguments:
        if name in known:
            raise NotOffered(f"{owner}({name}=...) is not offered: {known[name]}")


def refuses(known: Mapping[str, str], owner: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function: a keyword argument that is one of `known` raises NotOffered; see `refuse`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def checked(*arguments: P.args, **keywords: P.kwargs) -> R:
            refuse(keywords, known, owner)
            return function(*arguments, **keywords)

        return checked

    return decorate


def missing(name: str, known: Mapping[str, str], owner: str) -> NoReturn:
    """Raise NotOffered for a name of Faust's, else AttributeError: what a module's __getattr__ does.

    Raises:
        NotOffered, AttributeError.
    """
    if name in known:
        raise NotOffered(f"{owner}.{name} is not offered: {known[name]}")
    raise AttributeError(f"{owner} has no attribute {name!r}")


class _Missing:
    """A name of Faust's: reading it from an instance says why it is not there."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __get__(self, instance: object, cls: type) -> Any:
        if instance is None:
            # Whoever looks through a class, as help() does, is not about to use it.
            return self
        raise NotOffered(self._text)


def names_what_is_missing(known: Mapping[str, str], owner: str, *, refuses_set: bool = False) -> Callable[[C], C]:
    """Decorate a class: reading one of `known` raises NotOffered, and with `refuses_set` assigning it too.

    A decorator, not methods of the class: type checkers go on seeing misspelled attributes. A descriptor for each name,
    not __getattr__: of a class that has one, Python reads every attribute the slow way, and agents read tables.
    """

    def __setattr__(self: object, name: str, value: object) -> None:
        if name in known:
            missing(name, known, owner)
        object.__setattr__(self, name, value)

    def decorate(cls: C) -> C:
        for name, why in known.items():
            assert not hasattr(cls, name), f"{cls.__name__} has {name}"
            type.__setattr__(cls, name, _Missing(f"{owner}.{name} is not offered: {why}"))
        if refuses_set:
            type.__setattr__(cls, "__setattr__", __setattr__)
        return cls

    return decorate
