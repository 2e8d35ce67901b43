"""Every setting, with its default, unit and bound in one place (invariant I7).

`App(...)` keywords are the code's wishes; the operator's file, environment and command line beat them
(`configuration.py` reads those). This file knows no file, no environment and no clock.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from .checks import check_topic_name, is_topic_name
from .errors import ConfigurationError
from .faust_names import SETTINGS as FAUST_SETTINGS

ProcessingGuarantee = Literal["exactly_once", "at_least_once"]
ErrorAction = Literal["dead_letter", "skip", "stop"]
SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]

# Settings whose values are never shown, and what the names of such librdkafka options have in them.
SECRET_SETTINGS = ("sasl_password", "ssl_key_password", "oauth_client_secret")
_SECRET_WORDS = (
    *("password", "passwd", "passphrase", "secret", "pem", "oauthbearer.config", "jaas", "assertion", "token"),
    *("credential", "private"),
)
# Settings that name a file with a secret, and what is a path for sure: people paste the secret itself.
SECRET_FILES = (
    *("sasl_password_file", "ssl_key_password_file", "oauth_client_secret_file", "cluster_secret_file"),
    "ssl_key_location",
)
_PATH = re.compile(r"(?:~|\.{0,2})/[\w./ -]*\w")
_PASSWORD_IN_URL = re.compile(r"://[^/]*@")
HIDDEN = "***"
HOST_NAME_MAX = 200
PORT_MAX = 65_535

# The smallest value that makes sense -> settings.
LEAST: dict[float, tuple[str, ...]] = {
    0: (
        *("connect_timeout", "drain_timeout", "stall_report", "error_backoff", "error_retries", "table_cache_bytes"),
        *("commit_interval", "commit_interval_min", "commit_interval_max", "store_block_cache_bytes"),
        "standby_replicas",
    ),
    0.001: (
        *("heartbeat_interval", "stall_timeout", "crash_loop_window", "transaction_timeout"),
        *("host_timeout", "host_heartbeat"),
    ),
    0.1: ("repartition_purge_interval",),
    1: (
        *("version", "workers", "topic_partitions", "topic_replication_factor", "topic_min_insync_replicas"),
        *("commit_events_max", "consumer_batch_records_max", "stream_buffer_records_max", "outbox_records_max"),
        *("producer_flush_records", "consumer_prefetch_bytes", "store_write_buffer_bytes", "crash_loop_deaths"),
        *("standby_lag_max", "standby_warmups_max", "stream_buffer_bytes_max", "codec_unpacked_bytes_max"),
        "outbox_bytes_max",
    ),
    # A record has a key, a value, headers, and a batch around it.
    1024: ("producer_max_request_size",),
    # Below, a worker has no room for anything but itself; 1 GiB written as 1024 is found by it too.
    64 * 1024 * 1024: ("worker_memory",),
}


# The largest value that any machine could do something with -> settings; all other numbers end before JSON's do.
MOST: dict[float, tuple[str, ...]] = {1_000: ("workers",), 1_000_000: ("topic_partitions",)}
NUMBER_MAX = 2**53


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of an app. Durations are seconds, sizes are bytes, counts are counts."""

    id: str
    version: int = 1
    broker: str = "kafka://localhost:9092"
    # Who we are and whom we trust (security.py). None: as the other settings imply, always with TLS.
    broker_security_protocol: SecurityProtocol | None = None
    sasl_mechanism: SaslMechanism | None = None
    sasl_username: str | None = None
    sasl_password: str | None = None
    sasl_password_file: str | None = None
    oauth_token_endpoint: str | None = None
    oauth_client_id: str | None = None
    oauth_client_secret: str | None = None
    oauth_client_secret_file: str | None = None
    oauth_scope: str | None = None
    oauth_extensions: str | None = None
    ssl_ca_location: str | None = None
    ssl_ca_pem: str | None = None
    ssl_certificate_location: str | None = None
    ssl_key_location: str | None = None
    ssl_key_password: str | None = None
    ssl_key_password_file: str | None = None
    ssl_check_hostname: bool = True
    rack: str | None = None
    store: Literal["rocksdb://", "memory://"] = "rocksdb://"
    processing_guarantee: ProcessingGuarantee = "exactly_once"

    # Commits. None: adaptive, from commit_interval_min under low load to commit_interval_max under high load.
    commit_interval: float | None = None
    commit_interval_min: float = 0.005
    commit_interval_max: float = 0.2
    commit_events_max: int = 1_000_000
    transaction_timeout: float = 60.0

    # Topics that streamcluster creates.
    topic_partitions: int = 8
    topic_replication_factor: int | None = None
    topic_min_insync_replicas: int | None = None
    topic_allow_declare: bool = True

    # Codecs by default: keys are text or bytes as they are, values are JSON.
    key_serializer: str = "raw"
    value_serializer: str = "json"
    allow_pickle: bool = False
    # What the codec gzip may make of one key or value. None: 10 times producer_max_request_size.
    codec_unpacked_bytes_max: int | None = None

    # Failing events (design.md, section 7).
    error_retries: int = 1
    error_backoff: float = 0.1
    error_action: ErrorAction = "dead_letter"
    dead_letter_topic: str | None = None

    # Consumer and producer.
    consumer_auto_offset_reset: Literal["earliest", "latest"] = "earliest"
    consumer_batch_records_max: int = 10_000
    consumer_prefetch_bytes: int | None = None
    producer_compression_type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "none"
    producer_max_request_size: int = 1_048_576
    producer_flush_records: int = 20_000
    # Give records to librdkafka in C, where that was built.
    native: bool = True
    # Raw librdkafka settings, for what has no name above; they go through as they are.
    broker_options: dict[str, str | int | float | bool] = {}

    # Memory of one worker, all in all (memory.py). None: 384 MiB, or its share of a machine or cgroup that has less.
    worker_memory: int | None = None
    # Parts of it. None: what it has for them (consumer_prefetch_bytes too).
    table_cache_bytes: int | None = None
    store_block_cache_bytes: int | None = None
    store_write_buffer_bytes: int | None = None
    stream_buffer_records_max: int = 50_000
    stream_buffer_bytes_max: int | None = None
    # Records that a task may have sent to one topic before `await topic.send` waits for Kafka to take them.
    outbox_records_max: int = 100_000
    # And in bytes, over all tasks of a worker. None: a part of worker_memory.
    outbox_bytes_max: int | None = None

    # Hosts. host: this one's name in the cluster; None: the machine's.
    host: str | None = None
    # A host that says nothing for so long is taken for dead: its slots are fenced, its tasks move.
    host_timeout: float = 3.0
    host_heartbeat: float = 1.0
    # Copies of each task's state on other hosts. None: 1 when there is more than one host.
    standby_replicas: int | None = None
    # A task moves to a place whose state is at most so many records behind; others are warmed up, so many at once.
    standby_lag_max: int = 10_000
    standby_warmups_max: int = 4
    # Where other hosts may ask this one for rows of tables, HOST:PORT; None: nowhere. They share a secret.
    advertise: str | None = None
    # Where that port is opened, HOST:PORT; None: on the address that is advertised.
    listen: str | None = None
    cluster_secret_file: str | None = None
    # Whether records of other hosts have to be signed with that secret. optional: while not all hosts have it.
    cluster_signatures: Literal["required", "optional"] = "required"

    # Processes.
    workers: int | None = None
    connect_timeout: float = 30.0
    drain_timeout: float = 25.0
    stall_timeout: float = 60.0
    stall_report: float = 10.0
    heartbeat_interval: float = 0.5
    # How often what is read and committed is deleted from the topics that group_by made.
    repartition_purge_interval: float = 30.0
    crash_loop_deaths: int = 5
    crash_loop_window: float = 60.0
    log_format: Literal["auto", "text", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    state_dir: str | None = None

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


def hidden(name: str, value: object) -> object:
    """The value of setting `name` as it may be shown to anybody."""
    if name in SECRET_SETTINGS and value is not None:
        return HIDDEN
    if name in SECRET_FILES and value is not None and not (isinstance(value, str) and _PATH.fullmatch(value)):
        return HIDDEN
    if name == "broker_options" and isinstance(value, Mapping):
        return {key: HIDDEN if _is_secret(str(key), one) else one for key, one in value.items()}
    # An option's text that is no object yet may have a password anywhere.
    return HIDDEN if name == "broker_options" else value


def _is_secret(option: str, value: object) -> bool:
    """Whether a librdkafka option's value may be one: librdkafka knows small letters only, people do not."""
    if any(word in option.lower() for word in _SECRET_WORDS):
        return True
    return isinstance(value, str) and _PASSWORD_IN_URL.search(value) is not None


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
        raise ConfigurationError(f"{source}: {error}. See the README's list of settings.") from error
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
    _check_numbers(settings, source)
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


def _check_numbers(settings: Settings, source: str) -> None:
    most_of = {name: most for most, names in MOST.items() for name in names}
    for least, names in LEAST.items():
        for name in names:
            value = getattr(settings, name)
            most = most_of.get(name, NUMBER_MAX)
            if value is None or least <= value <= most:
                continue
            # A number of thousands of digits has no text.
            shown = f"{name}={value}" if -NUMBER_MAX <= value <= NUMBER_MAX or value != value else name
            bound = f"at most {most:,}" if value > most else f"at least {least}"
            raise ConfigurationError(f"{source}: {shown} must be {bound}.")


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
