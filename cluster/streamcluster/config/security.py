"""How a client reaches the brokers and proves who it is: librdkafka's options, made from the settings in one place.

Secrets are read from their files here, in the process that connects, each time that clients are made, and never
printed. It knows no Kafka client and opens no connection.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigurationError
from ..settings import Settings, bootstrap_servers
from .hidden import HIDDEN, SECRET_FILES, hidden

ConnectionConfig = dict[str, str | int | float | bool]

CREDENTIALS_DIRECTORY = "CREDENTIALS_DIRECTORY"
_SECRET_BYTES_MAX = 1 << 20
# The file in $CREDENTIALS_DIRECTORY when cluster_secret_file names none.
CLUSTER_CREDENTIAL = "cluster-secret"
CLUSTER_SECRET_BYTES_MIN = 16
_MAKE_SECRET = "make one with `openssl rand -base64 32`"


def connection_config(settings: Settings, environ: Mapping[str, str] = os.environ) -> ConnectionConfig:
    """Addresses, rack, TLS and SASL. `broker_options` are the caller's to put on top.

    Args:
        settings: the app's settings.
        environ: `$CREDENTIALS_DIRECTORY` (systemd's LoadCredential) is where files given by name alone are found.

    Raises:
        ConfigurationError: a file cannot be read, or settings that do not go together (the operator).
    """
    config: ConnectionConfig = {"bootstrap.servers": bootstrap_servers(settings.broker)}
    if settings.rack is not None:
        config["client.rack"] = settings.rack
    protocol = security_protocol(settings)
    if protocol is None:
        return config
    config["security.protocol"] = protocol
    if protocol.endswith("SSL"):
        config |= _tls(settings, environ)
    elif (given := _given(settings, "ssl_")) is not None:
        raise ConfigurationError(
            f"{given} is set, but broker_security_protocol={protocol} has no TLS: use SSL or SASL_SSL, or unset it."
        )
    if protocol.startswith("SASL_"):
        config |= _sasl(settings, environ)
    elif settings.sasl_mechanism is not None:
        raise ConfigurationError(
            f"sasl_mechanism={settings.sasl_mechanism} is set, but broker_security_protocol={protocol} has no SASL: "
            "use SASL_SSL, or unset it."
        )
    return config


def security_protocol(settings: Settings) -> str | None:
    """The protocol as set, or as the other settings imply it (always with TLS); None: they imply nothing."""
    if settings.broker_security_protocol is not None:
        return settings.broker_security_protocol
    if settings.sasl_mechanism is not None:
        return "SASL_SSL"
    return "SSL" if _given(settings, "ssl_") is not None else None


def _given(settings: Settings, prefix: str) -> str | None:
    """The first setting that begins so and is not as it is by default."""
    defaults = dict(zip(reversed(settings.__struct_fields__), reversed(settings.__struct_defaults__), strict=False))
    names = (name for name in settings.__struct_fields__ if name.startswith(prefix))
    return next((name for name in names if getattr(settings, name) != defaults[name]), None)


def _tls(settings: Settings, environ: Mapping[str, str]) -> ConnectionConfig:
    config: ConnectionConfig = {}
    if settings.ssl_ca_location is not None:
        path = _found("ssl_ca_location", settings.ssl_ca_location, environ)
        config["ssl.ca.location"] = str(path)
    if settings.ssl_ca_pem is not None:
        config["ssl.ca.pem"] = settings.ssl_ca_pem
    if not settings.ssl_check_hostname:
        config["ssl.endpoint.identification.algorithm"] = "none"
    certificate, key = settings.ssl_certificate_location, settings.ssl_key_location
    if (certificate is None) != (key is None):
        missing = "ssl_key_location" if key is None else "ssl_certificate_location"
        raise ConfigurationError(f"a client certificate needs its key, and a key its certificate: set {missing} too.")
    if certificate is not None and key is not None:
        config["ssl.certificate.location"] = str(_found("ssl_certificate_location", certificate, environ))
        config["ssl.key.location"] = str(_found("ssl_key_location", key, environ))
        password = _secret(settings, "ssl_key_password", environ)
        if password is not None:
            config["ssl.key.password"] = password
    return config


def _sasl(settings: Settings, environ: Mapping[str, str]) -> ConnectionConfig:
    options = settings.broker_options
    mechanism = settings.sasl_mechanism
    if mechanism is None:
        if "sasl.mechanism" in options or "sasl.mechanisms" in options:
            return {}
        raise ConfigurationError(
            f"broker_security_protocol={settings.broker_security_protocol} needs sasl_mechanism: "
            "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER."
        )
    if mechanism == "OAUTHBEARER":
        return {"sasl.mechanism": mechanism, **_oauth(settings, environ)}
    password = _secret(settings, "sasl_password", environ)
    config: ConnectionConfig = {"sasl.mechanism": mechanism}
    if settings.sasl_username is not None:
        config["sasl.username"] = settings.sasl_username
    if password is not None:
        config["sasl.password"] = password
    for option, name in (("sasl.username", "sasl_username"), ("sasl.password", "sasl_password_file")):
        if option not in config and option not in options:
            raise ConfigurationError(f"sasl_mechanism={mechanism} needs {name}.")
    return config


def _oauth(settings: Settings, environ: Mapping[str, str]) -> ConnectionConfig:
    """The client credentials grant (librdkafka's `oidc` method), unless broker_options say it another way."""
    if any(option.startswith("sasl.oauthbearer.") for option in settings.broker_options):
        return {}
    found = {
        "sasl.oauthbearer.token.endpoint.url": ("oauth_token_endpoint", settings.oauth_token_endpoint),
        "sasl.oauthbearer.client.id": ("oauth_client_id", settings.oauth_client_id),
        "sasl.oauthbearer.client.secret": (
            "oauth_client_secret_file",
            _secret(settings, "oauth_client_secret", environ),
        ),
    }
    config: ConnectionConfig = {"sasl.oauthbearer.method": "oidc"}
    for option, (name, value) in found.items():
        if value is None:
            raise ConfigurationError(f"sasl_mechanism=OAUTHBEARER needs {name}.")
        config[option] = value
    if settings.oauth_scope is not None:
        config["sasl.oauthbearer.scope"] = settings.oauth_scope
    if settings.oauth_extensions is not None:
        config["sasl.oauthbearer.extensions"] = settings.oauth_extensions
    return config


def _secret(settings: Settings, name: str, environ: Mapping[str, str]) -> str | None:
    """The secret of setting `name`: out of `<name>_file`, which beats one given as text; without its last newline."""
    file: str | None = getattr(settings, f"{name}_file")
    if file is None:
        text: str | None = getattr(settings, name)
        return text
    return _content(f"{name}_file", file, environ)


def cluster_secret(settings: Settings, environ: Mapping[str, str] = os.environ) -> str | None:
    """What the hosts of an app share to ask each other (cluster_secret_file); None: they do not ask each other.

    Raises:
        ConfigurationError: a file that cannot be read, a secret that is easy to guess, or `advertise` without one.
    """
    setting, name = "cluster_secret_file", settings.cluster_secret_file
    if name is None:
        setting, name = f"${CREDENTIALS_DIRECTORY}", CLUSTER_CREDENTIAL
        directory = environ.get(CREDENTIALS_DIRECTORY)
        if not directory or not (Path(directory) / name).exists():
            if settings.advertise is None:
                return None
            raise ConfigurationError(
                f"advertise={settings.advertise} needs a secret that all hosts of the app share: {_MAKE_SECRET}, copy "
                f"it to each host and name it in cluster_secret_file, or pass it as credential {CLUSTER_CREDENTIAL!r}."
            )
    secret = _content(setting, name, environ).strip()
    if len(secret.encode()) < CLUSTER_SECRET_BYTES_MIN:
        raise ConfigurationError(
            f"{setting}: the secret in {name} is shorter than {CLUSTER_SECRET_BYTES_MIN} bytes, so it can be guessed: "
            f"{_MAKE_SECRET}."
        )
    return secret


def _content(setting: str, file: str, environ: Mapping[str, str]) -> str:
    """The one line of a file that holds a secret."""
    path = _found(setting, file, environ)
    try:
        with path.open("rb") as opened:
            content = opened.read(_SECRET_BYTES_MAX + 1)
        secret = content.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise _unreadable(setting, path, error) from error
    except UnicodeDecodeError:
        # Not chained: that error shows the bytes.
        raise ConfigurationError(f"{setting}: {path} is not text in UTF-8.") from None
    if not secret or "\n" in secret or len(content) > _SECRET_BYTES_MAX:
        raise ConfigurationError(f"{setting}: {path} must hold the secret alone, in one line.")
    if "\0" in secret:
        # librdkafka ends it there, without a word.
        raise ConfigurationError(f"{setting}: the secret in {path} has a NUL character.")
    return secret


def loose_secrets(settings: Settings, environ: Mapping[str, str] = os.environ) -> list[str]:
    """A line for each file with a secret that every user of this machine may read.

    Raises:
        ConfigurationError: a file cannot be read (the operator).
    """
    names = {name: getattr(settings, name) for name in SECRET_FILES}
    found = [(name, _found(name, file, environ).resolve()) for name, file in names.items() if file is not None]
    return [
        f"{name}: every user of this machine may read {path}: let the user of the app alone read it (chmod 600)"
        for name, path in found
        if path.stat().st_mode & stat.S_IROTH and all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents)
    ]


def _found(setting: str, name: str, environ: Mapping[str, str]) -> Path:
    """The file that a setting names; a name without a slash is looked for in $CREDENTIALS_DIRECTORY first.

    Raises:
        ConfigurationError: it is not there, or must not be read.
    """
    path = Path(name)
    directory = environ.get(CREDENTIALS_DIRECTORY)
    if directory and "/" not in name and (Path(directory) / name).exists():
        path = Path(directory) / name
    try:
        if path.is_dir():
            os.listdir(path)
        else:
            path.open("rb").close()
    except OSError as error:
        raise _unreadable(setting, path, error) from error
    return path


def _unreadable(setting: str, path: Path, error: OSError) -> ConfigurationError:
    where = "" if path.is_absolute() else f" (looked for in {Path.cwd()} and in ${CREDENTIALS_DIRECTORY})"
    # What names no file may be the secret itself, given in the wrong place.
    is_name = isinstance(error, PermissionError) or hidden(setting, str(path)) != HIDDEN
    shown = str(path) if is_name else "the file that it names"
    return ConfigurationError(
        f"{setting}: {shown} cannot be read: {error.strerror}{where}. "
        "Correct the path, or let the user that runs the app read it."
    )
