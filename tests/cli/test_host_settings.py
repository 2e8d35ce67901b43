"""Settings about several hosts: values that make no sense are refused with what to do, the secret's file included."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamcluster.config.security import cluster_secret
from streamcluster.errors import ConfigurationError
from streamcluster.settings import address_of, make_settings

SECRET = "sixteen-bytes-or-more"


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("host", "a/1", "host='a/1' cannot name a host: use letters, digits"),
        ("host", "", "cannot name a host"),
        ("host", "h" * 201, "at most 200"),
        ("host", "höst", "cannot name a host"),
        ("advertise", "7070", "advertise='7070' is not an address: write HOST:PORT"),
        ("advertise", "a b:7070", "is not an address"),
        ("advertise", "http://a:7070", "is not an address"),
        ("advertise", "fd00::1:7070", "is not an address"),
        ("advertise", "a", "is not an address"),
        ("advertise", "a:", "has no port"),
        ("advertise", "a:0", "a port from 1 to 65535"),
        ("advertise", "a:65536", "a port from 1 to 65535"),
        ("listen", "7070", "listen='7070' is not an address: write HOST:PORT"),
        ("listen", "0.0.0.0:7070", "opens a port that no host is told of: set advertise=HOST:PORT too"),
        ("host_timeout", 0, "host_timeout=0.0 must be at least 0.001"),
        ("host_heartbeat", -1, "host_heartbeat=-1.0 must be at least 0.001"),
        ("host_heartbeat", 1.01, "host_heartbeat=1.01 must be at most a third of host_timeout=3"),
        ("standby_lag_max", 0, "standby_lag_max=0 must be at least 1"),
        ("standby_warmups_max", 0, "standby_warmups_max=0 must be at least 1"),
        ("standby_replicas", -1, "standby_replicas=-1 must be at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused(setting: str, value: object, text: str) -> None:
    """The message has the setting, the value, and what is allowed."""
    with pytest.raises(ConfigurationError) as caught:
        make_settings({"id": "shop", setting: value})
    assert text in str(caught.value)


def test_good_values_are_taken() -> None:
    """The machine's usual names, a third exactly, and no standbys."""
    settings = make_settings(
        {"id": "shop", "host": "node-1.rack_2", "host_timeout": 0.3, "host_heartbeat": 0.1, "standby_replicas": 0}
    )

    assert (settings.host, settings.standby_replicas) == ("node-1.rack_2", 0)


@pytest.mark.parametrize(
    ("text", "expected"), [("a:1", ("a", 1)), ("10.0.0.1:7070", ("10.0.0.1", 7070)), ("[fd00::1]:80", ("fd00::1", 80))]
)
def test_address_has_host_and_port(text: str, expected: tuple[str, int]) -> None:
    """Names, IPv4 and IPv6."""
    assert address_of(text) == expected


def test_secret_is_the_files_or_the_credential(tmp_path: Path) -> None:
    """cluster_secret_file is a path or a credential's name; without it the credential cluster-secret counts."""
    (tmp_path / "cluster-secret").write_text(f" {SECRET} \n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    plain = make_settings({"id": "shop"})

    assert cluster_secret(plain, environ) == SECRET
    assert cluster_secret(make_settings({"id": "shop", "cluster_secret_file": "cluster-secret"}), environ) == SECRET
    path = str(tmp_path / "cluster-secret")
    assert cluster_secret(make_settings({"id": "shop", "cluster_secret_file": path}), {}) == SECRET
    assert cluster_secret(plain, {}) is None


def test_advertise_needs_a_secret() -> None:
    """A port without one would answer anybody: it is refused with how to make one."""
    settings = make_settings({"id": "shop", "advertise": "a:7070"})

    with pytest.raises(ConfigurationError, match=r"openssl rand -base64 32.*cluster_secret_file.*cluster-secret"):
        cluster_secret(settings, {})


@pytest.mark.parametrize(
    "content", ["", "1234567890", "fifteen-bytes..", "  fifteen-bytes..   \n", "two\nlines-of-a-secret"]
)
def test_weak_secret_is_refused_and_not_shown(tmp_path: Path, content: str) -> None:
    """Fewer than 16 bytes, or not one line: the message names the file and not what is in it."""
    (tmp_path / "secret").write_text(content)
    settings = make_settings({"id": "shop", "cluster_secret_file": str(tmp_path / "secret")})

    with pytest.raises(ConfigurationError) as caught:
        cluster_secret(settings, {})

    assert str(tmp_path / "secret") in str(caught.value)
    assert not content.strip() or content.strip() not in str(caught.value).replace(str(tmp_path), "")
