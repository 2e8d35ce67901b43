"""Settings sources: precedence, types and messages that name the place to correct."""

from __future__ import annotations

import typing
from pathlib import Path

import msgspec
import pytest

from streamcluster.config.bounds import LEAST
from streamcluster.config.configuration import operator_settings, parse_duration
from streamcluster.errors import ConfigurationError
from streamcluster.settings import Settings, make_settings


def written(directory: Path, text: str) -> Path:
    """A configuration file with `text`."""
    path = directory / "streamcluster.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    """Each later source wins, setting by setting."""
    path = written(tmp_path, 'broker = "kafka://file"\nworkers = 1\ndrain_timeout = 1\n')
    environ = {"STREAMCLUSTER_BROKER": "kafka://environment", "STREAMCLUSTER_WORKERS": "2"}

    found = operator_settings(path, environ, {"broker": "kafka://option", "workers": None})

    assert found == {"broker": "kafka://option", "workers": 2, "drain_timeout": 1.0}


def test_the_file_in_the_current_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --config, streamcluster.toml of the current directory counts; without one, nothing is set."""
    monkeypatch.chdir(tmp_path)
    assert operator_settings(None, {}, {}) == {}

    written(tmp_path, "topic_partitions = 3")

    assert operator_settings(None, {}, {}) == {"topic_partitions": 3}


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("ALLOW_PICKLE", "yes", True),
        ("ALLOW_PICKLE", "false", False),
        ("TOPIC_PARTITIONS", "12", 12),
        ("COMMIT_INTERVAL", "none", None),
        ("COMMIT_INTERVAL", "250ms", 0.25),
        ("DRAIN_TIMEOUT", "1m", 60.0),
        ("PROCESSING_GUARANTEE", "at_least_once", "at_least_once"),
        ("BROKER_OPTIONS", '{"client.id": "x"}', {"client.id": "x"}),
        ("PRODUCER_COMPRESSION_TYPE", "none", "none"),
    ],
)
def test_a_variable_is_read_as_the_type_of_its_setting(variable: str, text: str, expected: object) -> None:
    """Text of the environment becomes bool, number, duration, None, object or a choice."""
    assert operator_settings(None, {f"STREAMCLUSTER_{variable}": text}, {}) == {variable.lower(): expected}


def test_an_empty_variable_counts_as_not_set() -> None:
    """Container files often pass variables on as empty."""
    assert operator_settings(None, {"STREAMCLUSTER_BROKER": ""}, {}) == {}


def test_variables_that_are_no_settings_are_left_alone() -> None:
    """The app's name, the tests' switches and other programs' variables are not settings."""
    environ = {"STREAMCLUSTER_APP": "shop:app", "STREAMCLUSTER_TEST_SEED": "7", "BROKER": "elsewhere"}

    assert operator_settings(None, environ, {}) == {}


def test_an_unknown_variable_is_refused_with_the_nearest_name() -> None:
    """A typo in the environment is said, not ignored."""
    with pytest.raises(ConfigurationError, match=r"STREAMCLUSTER_BROKR .*Did you mean STREAMCLUSTER_BROKER\?"):
        operator_settings(None, {"STREAMCLUSTER_BROKR": "kafka://"}, {})


def test_an_unknown_name_in_the_file_names_the_file(tmp_path: Path) -> None:
    """A typo in the file is said with the file and the nearest name."""
    path = written(tmp_path, "brokr = 'kafka://'")

    with pytest.raises(ConfigurationError, match=r"streamcluster\.toml.*'brokr'.*Did you mean 'broker'"):
        operator_settings(path, {}, {})


@pytest.mark.parametrize(
    "text", ["workers = 'many'", "workers = 1.5", "store = 'sqlite://'", "drain_timeout = '25 parsecs'"]
)
def test_a_value_of_the_wrong_type_names_file_and_setting(tmp_path: Path, text: str) -> None:
    """A wrong value is said with where it is."""
    path = written(tmp_path, text)

    with pytest.raises(ConfigurationError, match=rf"streamcluster\.toml: {text.split(' ')[0]}="):
        operator_settings(path, {}, {})


def test_a_wrong_value_in_the_environment_names_the_variable() -> None:
    """The message carries the variable, so that it can be found."""
    with pytest.raises(ConfigurationError, match="environment variable STREAMCLUSTER_WORKERS"):
        operator_settings(None, {"STREAMCLUSTER_WORKERS": "many"}, {})


def test_a_file_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    """--config with a missing file is an error; TOML errors name the file."""
    with pytest.raises(ConfigurationError, match="No such file"):
        operator_settings(tmp_path / "absent.toml", {}, {})
    with pytest.raises(ConfigurationError, match="not a TOML file"):
        operator_settings(written(tmp_path, "= ="), {}, {})


@pytest.mark.parametrize(
    ("text", "expected"), [("25s", 25.0), ("500ms", 0.5), ("1m", 60.0), ("2h", 7200.0), ("1.5", 1.5), (" 3 s ", 3.0)]
)
def test_durations_take_units(text: str, expected: float) -> None:
    """Units and plain seconds are read."""
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 week", "1s2"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """The message says how to write one."""
    with pytest.raises(ValueError, match="write 25s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        *((name, least - 1, f"must be at least {least}") for least, names in LEAST.items() for name in names),
        ("drain_timeout", float("nan"), "must be at least 0"),
        ("drain_timeout", float("inf"), "must be at most 9,007,199,254,740,992"),
        ("workers", 1_001, "must be at most 1,000"),
        pytest.param(*("workers", 16**4_000, "workers must be at most 1,000"), id="workers-hex"),
        pytest.param(*("store_block_cache_bytes", 10**5_000, "must be at most"), id="digits"),
        pytest.param(*("commit_events_max", -(10**5_000), "must be at least 1"), id="negative-digits"),
        ("state_dir", "a\0b", "must not hold a NUL"),
        ("sasl_password_file", "a\0b", "must not hold a NUL"),
        ("sasl_password", "a\0b", "must not hold a NUL"),
        ("id", "", "cannot be part of a topic name"),
        ("id", "..", "cannot be part of a topic name"),
        ("id", "caf\u00e9", "cannot be part of a topic name"),
        ("dead_letter_topic", "dead letters", "cannot be a topic's name"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(name: str, value: object, text: str) -> None:
    """Of the right type, and still nothing that could work: said with its name."""
    with pytest.raises(ConfigurationError, match=text) as caught:
        make_settings({"id": "a", name: value})
    assert name in str(caught.value)


def test_every_number_has_its_least_value() -> None:
    """A setting that is a number is in the list, once."""
    listed = [name for names in LEAST.values() for name in names]
    numbers = [
        field.name
        for field in msgspec.structs.fields(Settings)
        if {int, float} & {field.type, *typing.get_args(field.type)}
    ]
    assert sorted(listed) == sorted(numbers)


def nested(opening: str, closing: str) -> str:
    """Deeper than decoders go."""
    return opening * 5_000 + "1" + closing * 5_000


@pytest.mark.parametrize(
    "content",
    [
        b"workers = " + b"9" * 5_000,
        f"broker_options = {nested('[', ']')}".encode(),
        f"workers = {nested('{a=', '}')}".encode(),
        b'id = "\xff\xfe"',
        b"# " + b"x" * (1 << 20),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, content: bytes) -> None:
    """Depth, digits, bytes that are no text, size: one line that names the file."""
    (tmp_path / "own.toml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"own\.toml: not a TOML file") as said:
        operator_settings(tmp_path / "own.toml", {}, {})
    assert len(str(said.value)) < 1_000


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("BROKER_OPTIONS", nested("[", "]")),
        ("BROKER_OPTIONS", nested('{"a":', "}")),
        ("WORKERS", "9" * 5_000),
        ("STATE_DIR", "/tmp/\udcff"),
        ("DRAIN_TIMEOUT", "9" * 5_000),
    ],
)
def test_a_variable_that_no_decoder_takes_is_refused(variable: str, text: str) -> None:
    """The message names it, and is short."""
    with pytest.raises(ConfigurationError) as said:
        make_settings({"id": "a", **operator_settings(None, {f"STREAMCLUSTER_{variable}": text}, {})})
    assert variable.lower() in str(said.value)
    assert len(str(said.value)) < 1_000
