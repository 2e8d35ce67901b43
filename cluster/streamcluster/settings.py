"""Every setting, with its type, unit, default and meaning in one place (invariant I7); bounds are in config/bounds.py.

`App(...)` keywords are the code's wishes; the operator's file, environment and command line beat them
(`configuration.py` reads those). This file knows no file, no environment and no clock.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from .checks import check_topic_name, is_topic_name
from .config.bounds import check_numbers
from .config.hidden import hidden
from .errors import ConfigurationError
from .faust_names import SETTINGS as FAUST_SETTINGS

# Units, as docs/settings.md says them.
Seconds = float
Bytes = int

ProcessingGuarantee = Literal["exactly_once", "at_least_once"]
ErrorAction = Literal["dead_letter", "skip", "stop"]
SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]

HOST_NAME_MAX = 200
PORT_MAX = 65_535


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of an app. scripts/settings.py makes docs/settings.md of the texts below them."""

    id: str
    """Names the consumer group, the internal topics and the state directory; the first argument of `App`."""
    version: int = 1
    """From 2 on the app id is `<id>-v<version>`: a fresh start beside the old one."""
    broker: str = "kafka://localhost:9092"
    """`kafka://host:9092;other:9092`; a missing host is localhost, a missing port 9092."""
    store: Literal["rocksdb://", "memory://"] = "rocksdb://"
    """Where tables are kept; with `memory://` they are restored from Kafka at each start."""
    state_dir: str | None = None
    """The directory for RocksDB and the control socket; none: see [running.md](running.md#the-state-directory)."""
    processing_guarantee: ProcessingGuarantee = "exactly_once"
    """What a crash may repeat: nothing, or outputs ([guarantees.md](guarantees.md))."""

    broker_security_protocol: SecurityProtocol | None = None
    """How to talk to the brokers; none: as the next ones imply, always with TLS. See [security.md](security.md)."""
    sasl_mechanism: SaslMechanism | None = None
    """How to log in; none: not at all."""
    sasl_username: str | None = None
    """The user, for PLAIN and SCRAM."""
    sasl_password: str | None = None
    """The user's password; better in a file; never shown."""
    sasl_password_file: str | None = None
    """A file that holds the password alone, or its name in `$CREDENTIALS_DIRECTORY`; beats `sasl_password`."""
    oauth_token_endpoint: str | None = None
    """For OAUTHBEARER: the URL that gives tokens for client credentials (OIDC)."""
    oauth_client_id: str | None = None
    """Who asks for a token there."""
    oauth_client_secret: str | None = None
    """The client's secret; better in a file; never shown."""
    oauth_client_secret_file: str | None = None
    """A file with it, as `sasl_password_file`."""
    oauth_scope: str | None = None
    """Sent with the request for a token."""
    oauth_extensions: str | None = None
    """Sent to the brokers with the token: `name=value,name=value`."""
    ssl_ca_location: str | None = None
    """A PEM file (or a directory) with the CAs to trust; none: those of the machine."""
    ssl_ca_pem: str | None = None
    """The CAs themselves, as PEM text."""
    ssl_certificate_location: str | None = None
    """A client certificate, PEM."""
    ssl_key_location: str | None = None
    """Its key, PEM."""
    ssl_key_password: str | None = None
    """The password of an encrypted key; better in a file; never shown."""
    ssl_key_password_file: str | None = None
    """A file with it, as `sasl_password_file`."""
    ssl_check_hostname: bool = True
    """Whether a broker's certificate must name its host."""

    commit_interval: Seconds | None = None
    """From one commit to the next; none: adaptive, between the next two."""
    commit_interval_min: Seconds = 0.0
    """From one commit to the next at low load."""
    commit_interval_max: Seconds = 0.2
    """From one commit to the next at full load."""
    commit_events_max: int = 1_000_000
    """A commit takes place after so many events, or so many outputs and table entries, at the latest, per worker."""
    transaction_timeout: Seconds = 60.0
    """After so long brokers abort the transaction of a worker that is gone."""

    idle_timeout: Seconds = 1.0
    """An input at its end for so long no longer holds back event time ([event-time.md](event-time.md))."""
    close_idle_after: Seconds | None = 60.0
    """When all inputs are idle for so long behind live data, event time goes on with the clock; none: never."""
    max_ahead: Seconds | None = 3600.0
    """A record further ahead of the clock does not move event time; none: all do."""
    max_out_of_orderness: Seconds = 0.0
    """How much older than the ones before it a record may be and not count as late, beside `grace`."""
    watermark_interval: Seconds = 0.1
    """How often a task tells those behind a `group_by` how far its event time is, at most."""

    topic_partitions: int = 8
    """Partitions of topics that are created and say nothing else."""
    topic_replication_factor: int | None = None
    """Copies of topics that are created; none: 3, or one for each broker if there are fewer."""
    topic_min_insync_replicas: int | None = None
    """Of the copies, how many must have a record before it counts as written; none: 2 of 3 or more, else 1."""
    topic_allow_declare: bool = True
    """Whether missing source and output topics are created at all."""

    key_serializer: str = "raw"
    """Codec of keys without a type: `raw`, `json`, `binary`, chains such as `json|gzip`."""
    value_serializer: str = "json"
    """Codec of values without a type."""
    allow_pickle: bool = False
    """Whether the codec `pickle` may be used: it runs code of whoever wrote the record."""
    codec_unpacked_bytes_max: Bytes | None = None
    """What the codec `gzip` may make of one key or value; none: 10 times `producer_max_request_size`."""

    error_retries: int = 1
    """How often a failing event is tried again."""
    error_backoff: Seconds = 0.1
    """Before the second retry, doubling from there; the first follows at once."""
    error_action: ErrorAction = "dead_letter"
    """What happens to an event that fails after that."""
    dead_letter_topic: str | None = None
    """Where events go that are given up; none: `<app id>-dead-letter`."""

    consumer_auto_offset_reset: Literal["earliest", "latest"] = "earliest"
    """Where an app that is new begins in its sources ([positions.md](positions.md))."""
    # These are so few that records and their values are still in a core's cache when they go to the client.
    consumer_batch_records_max: int = 4_000
    """Records taken from the client at once."""
    consumer_prefetch_bytes: Bytes | None = None
    """Records that wait in the client, per worker; none: a part of `worker_memory`, at most 32 MiB."""
    producer_compression_type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "none"
    """How batches of records are packed for the brokers."""
    producer_max_request_size: Bytes = 1_048_576
    """The largest record; a larger one fails its event."""
    producer_flush_records: int = 4_000
    """Outputs are handed to the client in pieces of so many."""
    native: bool = True
    """Whether records go to librdkafka in C, where that was built ([native.md](native.md))."""
    broker_options: dict[str, str | int | float | bool] = {}
    """librdkafka's own settings, passed on as they are."""

    worker_memory: Bytes | None = None
    """What a worker may take, all in all; none: 384 MiB, or less where the machine or the cgroup has less. See
    [memory.md](memory.md)."""
    table_cache_bytes: Bytes | None = None
    """Decoded table entries in memory, per worker: what was used last stays, whichever table or task it is of; none:
    what the rest leaves of `worker_memory`."""
    store_block_cache_bytes: Bytes | None = None
    """RocksDB's cache of blocks, per worker; none: a part of `worker_memory`."""
    store_write_buffer_bytes: Bytes | None = None
    """RocksDB's memory tables, per worker; none: a part of `worker_memory`."""
    stream_buffer_records_max: int = 50_000
    """Records that wait for agents, per worker; as it fills up, the fullest partitions pause."""
    stream_buffer_bytes_max: Bytes | None = None
    """The same in memory, with the decoded values; none: a part of `worker_memory`."""
    outbox_records_max: int = 100_000
    """Records that a task may have sent to one topic before `await topic.send` waits for Kafka to take them."""
    outbox_bytes_max: Bytes | None = None
    """The same in memory, over all tasks of a worker; none: a part of `worker_memory`."""

    host: str | None = None
    """This host's name in the cluster, unique; none: the machine's name."""
    rack: str | None = None
    """Where this host is; it then reads from replicas in its rack, when the brokers allow that."""
    host_timeout: Seconds = 3.0
    """A host that says nothing for so long is taken for dead: it is fenced, and its tasks move."""
    host_heartbeat: Seconds = 1.0
    """How often a host says how it is; at most a third of `host_timeout`."""
    standby_replicas: int | None = None
    """Copies of each task's state on other hosts; none: 1 when there is more than one host."""
    standby_lag_max: int = 10_000
    """A task moves to a place whose copy is at most so many records behind; others are warmed up first."""
    standby_warmups_max: int = 4
    """So many copies are warmed up at once."""
    advertise: str | None = None
    """`HOST:PORT` where other hosts ask this one for rows of tables; none: nowhere. See
    [security.md](security.md#between-hosts)."""
    listen: str | None = None
    """`HOST:PORT` where that port is opened, `0.0.0.0:PORT` for all addresses; none: on the address that is
    advertised, which must be one of this machine."""
    cluster_secret_file: str | None = None
    """A file with the secret that all hosts share for that, or its name in `$CREDENTIALS_DIRECTORY`; none:
    `cluster-secret` there."""
    cluster_signatures: Literal["required", "optional"] = "required"
    """With such a secret, records that hosts write for each other are signed: `required` believes no others,
    `optional` does, while not all hosts have the secret."""

    workers: int | None = None
    """Worker processes; none: one per core."""
    connect_timeout: Seconds = 30.0
    """How long `start` looks for a broker before it ends with exit code 69."""
    drain_timeout: Seconds = 25.0
    """To finish and commit after TERM, and to give back a task that moves."""
    stall_timeout: Seconds = 60.0
    """A worker that is silent for so long is killed and replaced."""
    stall_report: Seconds = 10.0
    """After so long its stacks are logged."""
    heartbeat_interval: Seconds = 0.5
    """How often a worker tells the coordinator how it is."""
    repartition_purge_interval: Seconds = 30.0
    """How often records that are read and committed are deleted from the topics that `group_by` made."""
    crash_loop_deaths: int = 5
    """So many deaths of a worker within `crash_loop_window` are a crash loop."""
    crash_loop_window: Seconds = 60.0
    """As `crash_loop_deaths` says."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """How lines of the log look; `auto`: text on a terminal, else JSON."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are shown."""

    @property
    def app_id(self) -> str:
        """The id that topics, the group and directories carry: `id`, and `-v{n}` from version 2 on, as in Faust."""
        return self.id if self.version < 2 else f"{self.id}-v{self.version}"

    @property
    def exactly_once(self) -> bool:
        """Whether outputs are committed with changelogs and offsets; else only these are, and outputs leave at once."""
        return self.processing_guarantee == "exactly_once"

    @property
    def codec_bounds(self) -> dict[str, Any]:
        """What coders may do with bytes that others wrote: arguments of the functions of `coding.py`."""
        unpacked = self.codec_unpacked_bytes_max or 10 * self.producer_max_request_size
        return {"allow_pickle": self.allow_pickle, "unpacked_bytes_max": unpacked}

    @property
    def dead_letters(self) -> str:
        """The topic that failing and undecodable records go to."""
        return self.dead_letter_topic or f"{self.app_id}-dead-letter"

    def __repr__(self) -> str:
        """Every setting; secrets are hidden."""
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """The same for rich, which would look into the fields itself."""
        return [(name, hidden(name, getattr(self, name))) for name in self.__struct_fields__]


SETTING_NAMES = tuple(Settings.__struct_fields__)


def make_settings(values: Mapping[str, object], *, source: str = "App(...)") -> Settings:
    """Check names and types of `values` and return the settings.

    Args:
        values: setting name -> value, as given.
        source: where they come from, for the message.

    Raises:
        ConfigurationError: an unknown name (with the nearest known one) or a value of the wrong type.
    """
    for name in values:
        check_setting_name(name, source=source)
    try:
        settings = msgspec.convert(dict(values), Settings, strict=False)
    except (msgspec.MsgspecError, RecursionError, OverflowError) as error:
        raise ConfigurationError(f"{source}: {error}. docs/settings.md lists all settings.") from error
    return _checked(settings, source)


def check_setting_name(name: str, *, source: str) -> None:
    """Raise ConfigurationError with a did-you-mean when `name` is not a setting."""
    if name in SETTING_NAMES:
        return
    if name in FAUST_SETTINGS:
        raise ConfigurationError(f"{source}: the setting {name!r} of Faust is not offered: {FAUST_SETTINGS[name]}")
    near = difflib.get_close_matches(name, SETTING_NAMES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ConfigurationError(f"{source}: there is no setting {name!r}.{hint}")


def _checked(settings: Settings, source: str) -> Settings:
    """Refuse values that are of the right type and still make no sense."""
    if len(settings.id) > 200 or not is_topic_name(settings.id):
        raise ConfigurationError(
            f"{source}: id={settings.id!r} cannot be part of a topic name: "
            "use letters, digits, '.', '_' and '-', at most 200."
        )
    if settings.dead_letter_topic is not None:
        check_topic_name(f"{source}: dead_letter_topic", settings.dead_letter_topic)
    if "@" in settings.broker:
        # Not shown: what is before it is likely a password.
        raise ConfigurationError(
            f"{source}: broker must not hold a user or password: set sasl_username and sasl_password_file."
        )
    if not settings.broker.startswith("kafka://"):
        raise ConfigurationError(f"{source}: broker={settings.broker!r} must look like 'kafka://host:9092'.")
    _check_texts(settings, source)
    check_numbers(settings, source)
    copies, in_sync = settings.topic_replication_factor, settings.topic_min_insync_replicas
    if copies is not None and in_sync is not None and in_sync > copies:
        raise ConfigurationError(
            f"{source}: topic_min_insync_replicas={in_sync} is more than topic_replication_factor={copies}: "
            "no write would ever be acknowledged."
        )
    _check_hosts(settings, source)
    return settings


def _check_texts(settings: Settings, source: str) -> None:
    """Refuse NULs: paths end there for the kernel, and passwords for librdkafka."""
    texts = [(name, getattr(settings, name)) for name in SETTING_NAMES]
    texts += [("broker_options", text) for option in settings.broker_options.items() for text in option]
    for name, text in texts:
        if isinstance(text, str) and "\0" in text:
            raise ConfigurationError(f"{source}: {name} must not hold a NUL character.")


def _check_hosts(settings: Settings, source: str) -> None:
    """The same for what is about several hosts."""
    if settings.host is not None and not is_host_name(settings.host):
        raise ConfigurationError(
            f"{source}: host={settings.host!r} cannot name a host: use letters, digits, '.', '_' and '-', "
            f"at most {HOST_NAME_MAX}."
        )
    for name, address in (("advertise", settings.advertise), ("listen", settings.listen)):
        if address is not None:
            try:
                address_of(address)
            except ValueError as error:
                raise ConfigurationError(f"{source}: {name}={error}.") from error
    if settings.listen is not None and settings.advertise is None:
        raise ConfigurationError(
            f"{source}: listen={settings.listen} opens a port that no host is told of: set advertise=HOST:PORT too."
        )
    # Two may be lost or late before a host is taken for dead. The rest is what 0.1 * 3 is off.
    if settings.host_heartbeat * 3 > settings.host_timeout * (1 + 1e-9):
        raise ConfigurationError(
            f"{source}: host_heartbeat={settings.host_heartbeat:g} must be at most a third of "
            f"host_timeout={settings.host_timeout:g}: one late report would look like a dead host."
        )


def is_host_name(text: str) -> bool:
    """Whether a host may be called so: it becomes part of transactional ids, and of slots written HOST/NUMBER."""
    return 0 < len(text) <= HOST_NAME_MAX and all(c.isascii() and (c.isalnum() or c in "._-") for c in text)


def address_of(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `[IPv6]:PORT`. Raises ValueError."""
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or any(c.isspace() or c in "/[]@" for c in host):
        raise ValueError(f"{text!r} is not an address: write HOST:PORT, for example 10.0.0.1:7070 or [fd00::1]:7070")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) <= PORT_MAX):
        raise ValueError(f"{text!r} has no port: write HOST:PORT with a port from 1 to {PORT_MAX}")
    return host, int(port)


def bootstrap_servers(broker: str) -> str:
    """Turn `kafka://a:9092;b:9092` into librdkafka's `a:9092,b:9092`; a missing port is 9092."""
    hosts = broker.removeprefix("kafka://").replace(";", ",").split(",")
    named = [host.removeprefix("kafka://").strip() or "localhost" for host in hosts]
    return ",".join(host if ":" in host else f"{host}:9092" for host in named)
