"""What the Kafka client is told of TLS and SASL, where secrets come from, and that nothing shows them."""

from __future__ import annotations

import io
import ssl
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

import streamcluster
from streamcluster.config.configuration import operator_settings
from streamcluster.config.security import cluster_secret, connection_config, loose_secrets
from streamcluster.errors import ConfigurationError, NotOffered
from streamcluster.kafka import config as kafka_settings
from streamcluster.protocol.messages import Description
from streamcluster.settings import Settings, make_settings
from streamcluster.topology import Declared

PASSWORD = "s3cret-pass"
SCRAM: dict[str, Any] = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "ann"}


def config_of(environ: dict[str, str] | None = None, **settings: Any) -> dict[str, Any]:
    """What a client of an app with these settings is told, without the addresses."""
    config = connection_config(make_settings({"id": "shop", **settings}), environ or {})
    assert config.pop("bootstrap.servers") == "localhost:9092"
    return config


def test_without_settings_nothing_is_said() -> None:
    """librdkafka's defaults, and what broker_options say, stay as they are."""
    assert config_of() == {}


def test_every_client_gets_the_same_connection(tmp_path: Path) -> None:
    """Worker and coordinator build all their clients on connection_config, and broker_options beat it."""
    (tmp_path / "password").write_text(PASSWORD)
    settings = make_settings(
        {
            "id": "shop",
            **SCRAM,
            "sasl_password_file": str(tmp_path / "password"),
            "broker_options": {"sasl.username": "bob"},
        }
    )
    wanted = {**connection_config(settings), "sasl.username": "bob"}
    clients = (
        kafka_settings.client_config(settings),
        kafka_settings.consumer_config(settings),
        kafka_settings.changelog_consumer_config(settings),
        kafka_settings.producer_config(settings, "shop-slot-0"),
        kafka_settings.coordinator_config(settings),
        kafka_settings.asker_config(settings),
        kafka_settings.log_reader_config(settings, "shop-ctl"),
        kafka_settings.fence_config(settings, "shop-ctl"),
    )
    for config in clients:
        assert wanted.items() <= config.items()


def test_sasl_implies_tls() -> None:
    """A password goes over TLS unless somebody says otherwise."""
    assert config_of(**SCRAM, sasl_password=PASSWORD) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "ann",
        "sasl.password": PASSWORD,
    }
    clear = config_of(**SCRAM, sasl_password=PASSWORD, broker_security_protocol="SASL_PLAINTEXT")
    assert clear["security.protocol"] == "SASL_PLAINTEXT"


def test_a_ca_implies_tls_and_a_client_certificate_comes_with_its_key(tmp_path: Path) -> None:
    """TLS alone, with a client certificate and the password of its key."""
    for name in ("ca.pem", "me.pem", "me.key", "word"):
        (tmp_path / name).write_text(PASSWORD)
    files: dict[str, Any] = {
        "ssl_ca_location": str(tmp_path / "ca.pem"),
        "ssl_certificate_location": str(tmp_path / "me.pem"),
        "ssl_key_location": str(tmp_path / "me.key"),
        "ssl_key_password_file": str(tmp_path / "word"),
    }
    assert config_of(**files, rack="r1") == {
        "client.rack": "r1",
        "security.protocol": "SSL",
        "ssl.ca.location": files["ssl_ca_location"],
        "ssl.certificate.location": files["ssl_certificate_location"],
        "ssl.key.location": files["ssl_key_location"],
        "ssl.key.password": PASSWORD,
    }


def test_oauth_uses_client_credentials() -> None:
    """OAUTHBEARER gets its tokens from the endpoint, with librdkafka's own method."""
    found = config_of(
        sasl_mechanism="OAUTHBEARER",
        oauth_token_endpoint="https://tokens",
        oauth_client_id="me",
        oauth_client_secret=PASSWORD,
        oauth_scope="kafka",
    )
    assert found == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": "https://tokens",
        "sasl.oauthbearer.client.id": "me",
        "sasl.oauthbearer.client.secret": PASSWORD,
        "sasl.oauthbearer.scope": "kafka",
    }


def test_a_name_alone_is_a_credential_of_systemd(tmp_path: Path) -> None:
    """A secret's name is looked for in $CREDENTIALS_DIRECTORY; a file beats a password that the code has."""
    (tmp_path / "kafka").write_text(f"{PASSWORD}\n")
    found = config_of(
        {"CREDENTIALS_DIRECTORY": str(tmp_path)}, **SCRAM, sasl_password="old", sasl_password_file="kafka"
    )
    assert found["sasl.password"] == PASSWORD


def test_the_file_is_read_each_time(tmp_path: Path) -> None:
    """A new password counts for the next client."""
    path = tmp_path / "password"
    for password in ("one", "two"):
        path.write_text(password)
        assert config_of(**SCRAM, sasl_password_file=str(path))["sasl.password"] == password


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({**SCRAM, "sasl_password_file": "/nonexistent/password"}, "sasl_password_file: /nonexistent/password cannot"),
        ({"ssl_ca_location": "nowhere.pem"}, "$CREDENTIALS_DIRECTORY"),
        (SCRAM, "needs sasl_password_file"),
        ({"sasl_mechanism": "PLAIN", "sasl_password": "x"}, "needs sasl_username"),
        ({"broker_security_protocol": "SASL_SSL"}, "needs sasl_mechanism"),
        ({**SCRAM, "broker_security_protocol": "SSL"}, "has no SASL"),
        ({"broker_security_protocol": "PLAINTEXT", "ssl_ca_pem": "x"}, "ssl_ca_pem is set"),
        ({"ssl_certificate_location": "/etc/hostname"}, "ssl_key_location too"),
        ({"sasl_mechanism": "OAUTHBEARER", "oauth_client_id": "x"}, "needs oauth_token_endpoint"),
    ],
)
def test_what_does_not_go_together_is_said(settings: dict[str, Any], words: str) -> None:
    """One clear ConfigurationError that names the setting to correct."""
    with pytest.raises(ConfigurationError) as said:
        config_of(**settings)
    assert words in str(said.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"s3cret-pass\xff", b"s3cret\0pass"])
def test_a_file_that_is_no_secret_is_refused_and_not_shown(tmp_path: Path, content: bytes) -> None:
    """Empty, several lines, or no text: the message has the path, and nothing of what is in it."""
    path = tmp_path / "password"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="sasl_password_file") as said:
        config_of(**SCRAM, sasl_password_file=str(path))
    assert "s3cret" not in str(said.value)
    assert said.value.__cause__ is None


def test_secrets_are_never_shown() -> None:
    """Neither repr nor rich show a password, wherever it was given; the rest is there, and workers get all of it."""
    secret_options = (
        *("sasl.password", "ssl.key.pem", "sasl.oauthbearer.client.secret", "sasl.oauthbearer.config"),
        *("SASL.Password", "Ssl.Key.Passphrase", "x.access.token", "aws.credentials", "x.private.key"),
    )
    settings = make_settings(
        {
            "id": "shop",
            **SCRAM,
            "sasl_password": PASSWORD,
            "ssl_key_password": PASSWORD,
            "oauth_client_secret": PASSWORD,
            "broker_options": {
                **dict.fromkeys(secret_options, PASSWORD),
                "schema.url": f"https://ann:{PASSWORD}@host/",
                "fetch.wait.max.ms": 7,
            },
        }
    )
    description = Description(
        settings=settings, declared=Declared(app_id="shop", topics=(), agents=(), tables=()), native=""
    )
    shown = io.StringIO()
    Console(file=shown, width=10_000).print(settings, description)
    for text in (repr(settings), str(settings), f"{description}", shown.getvalue()):
        assert PASSWORD not in text
        assert "sasl_username='ann'" in text
        assert "'fetch.wait.max.ms': 7" in text
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(settings), type=Settings) == settings


@pytest.mark.parametrize(
    ("variable", "value"),
    [("BROKER_OPTIONS", f'{{"sasl.password": "{PASSWORD}"'), ("BROKER", f"kafka://ann:{PASSWORD}@host")],
)
def test_complaints_do_not_show_secrets(variable: str, value: str) -> None:
    """A wrong value that may hold a password is not repeated."""
    with pytest.raises(ConfigurationError) as said:
        make_settings({"id": "shop", **operator_settings(None, {f"STREAMCLUSTER_{variable}": value}, {})})
    assert PASSWORD not in str(said.value)


def test_fausts_credentials_become_settings(tmp_path: Path) -> None:
    """SASL with and without TLS, TLS alone, OAuth: each stands for settings, which the operator's beat."""
    plain = streamcluster.SASLCredentials(username="ann", password=PASSWORD)
    conf = streamcluster.App("shop", broker_credentials=plain).conf
    assert (conf.broker_security_protocol, conf.sasl_mechanism, conf.sasl_username, conf.sasl_password) == (
        "SASL_PLAINTEXT",
        "PLAIN",
        "ann",
        PASSWORD,
    )
    assert PASSWORD not in repr(plain)
    scram = streamcluster.SASLCredentials(
        username="ann",
        password_file="kafka",
        mechanism="SCRAM-SHA-256",
        ssl_context=streamcluster.SSLCredentials(cafile="/ca.pem"),
    )
    conf = streamcluster.App("shop", broker_credentials=scram).conf
    assert (conf.broker_security_protocol, conf.ssl_ca_location) == ("SASL_SSL", "/ca.pem")
    context = streamcluster.SSLCredentials(ssl.create_default_context())
    assert context.settings() == {"broker_security_protocol": "SSL"}
    oauth = streamcluster.OAuthCredentials(token_endpoint="https://t", client_id="me", client_secret=PASSWORD)
    assert oauth.settings()["sasl_mechanism"] == "OAUTHBEARER"
    assert PASSWORD not in repr(oauth)


def test_what_cannot_be_offered_says_why() -> None:
    """Kerberos, a token callback, and TLS without a check are refused with what to do instead."""
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    with pytest.raises(NotOffered, match="SCRAM"):
        streamcluster.GSSAPICredentials(kerberos_service_name="kafka")
    with pytest.raises(NotOffered, match="token_endpoint"):
        streamcluster.OAuthCredentials(oauth_cb=print)
    with pytest.raises(NotOffered, match="cafile"):
        streamcluster.App("shop", broker_credentials=unchecked)
    with pytest.raises(streamcluster.AppError, match="SASLCredentials"):
        streamcluster.App("shop", broker_credentials="ann:secret")


@pytest.mark.parametrize("setting", ["sasl_password_file", "cluster_secret_file", "ssl_key_location"])
@pytest.mark.parametrize(
    "secret", ["s3cret-pass", "s3cret/pass+x=", "/s3cret+pass/x=", "-----BEGIN KEY-----\ns3cret\n"]
)
def test_a_secret_that_was_pasted_where_a_file_is_named_is_not_shown(setting: str, secret: str) -> None:
    """Neither when the file is not found nor in what is said of the settings; a path that is one is shown."""
    settings = make_settings({"id": "shop", "sasl_mechanism": "PLAIN", "sasl_username": "ann", setting: secret})
    if setting == "ssl_key_location":
        settings = msgspec.structs.replace(settings, ssl_certificate_location="/etc/hostname")
    read = cluster_secret if setting == "cluster_secret_file" else connection_config
    with pytest.raises(ConfigurationError, match=setting) as said:
        read(settings, {})
    assert "s3cret" not in str(said.value) + repr(settings)
    with pytest.raises(ConfigurationError, match="/run/secrets/kafka"):
        config_of(**SCRAM, sasl_password_file="/run/secrets/kafka")


def test_a_secret_file_that_everybody_may_read_is_named(tmp_path: Path) -> None:
    """A line for each; none for what a directory keeps others from."""
    path = tmp_path / "password"
    path.write_text(PASSWORD)
    settings = make_settings({"id": "shop", **SCRAM, "sasl_password_file": str(path)})
    folders = [path.parent, *path.parent.parents]
    path.chmod(0o644)
    open_to_all = [folder for folder in folders if folder.stat().st_mode & 0o001]
    assert (loose_secrets(settings, {}) != []) == (open_to_all == folders)
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o755)
        other = Path(place) / "password"
        other.write_text(PASSWORD)
        other.chmod(0o644)
        loose = make_settings({"id": "shop", **SCRAM, "sasl_password_file": str(other)})
        [line] = loose_secrets(loose, {})
        assert ("sasl_password_file" in line, str(other) in line, PASSWORD in line) == (True, True, False)
        other.chmod(0o640)
        assert loose_secrets(loose, {}) == []
