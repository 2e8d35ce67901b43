"""Faust's credentials classes, for `App(broker_credentials=...)`: each is turned into settings of the same meaning.

They only hold what the user says; `security.py` decides what the Kafka client is told, and reads files.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any

from ..errors import AppError, NotOffered

_SCRAM_OR_PLAIN = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True, kw_only=True)
class SASLCredentials:
    """User and password. The mechanism is PLAIN (the default, as in Faust), SCRAM-SHA-256 or SCRAM-SHA-512.

    With `ssl_context` (an ssl.SSLContext or SSLCredentials) over TLS, without one in the clear, as in Faust.
    """

    username: str
    password: str | None = field(default=None, repr=False)
    password_file: str | None = None
    mechanism: str | None = None
    ssl_context: ssl.SSLContext | SSLCredentials | None = None

    def settings(self) -> dict[str, Any]:
        """The settings that this stands for."""
        mechanism = str(getattr(self.mechanism, "value", self.mechanism) or "PLAIN")
        if mechanism not in _SCRAM_OR_PLAIN:
            raise AppError(f"SASLCredentials(mechanism={mechanism!r}): use one of {', '.join(_SCRAM_OR_PLAIN)}.")
        return {
            "broker_security_protocol": "SASL_PLAINTEXT" if self.ssl_context is None else "SASL_SSL",
            "sasl_mechanism": mechanism,
            "sasl_username": self.username,
            **_given(sasl_password=self.password, sasl_password_file=self.password_file),
            **_tls_of(self.ssl_context),
        }


@dataclass(frozen=True, slots=True)
class SSLCredentials:
    """TLS. Without arguments the brokers' certificates are checked against the CAs of this machine.

    certfile, keyfile and password are a client certificate. A certificate that was loaded into `context` cannot be read
    out of it again; give the files here.
    """

    context: ssl.SSLContext | None = None
    purpose: Any = None
    cafile: str | None = None
    capath: str | None = None
    cadata: str | bytes | None = None
    certfile: str | None = None
    keyfile: str | None = None
    password: str | None = field(default=None, repr=False)

    def settings(self) -> dict[str, Any]:
        """The settings that this stands for."""
        return {"broker_security_protocol": "SSL", **self.tls()}

    def tls(self) -> dict[str, Any]:
        """The part about certificates."""
        data = self.cadata
        given = _given(
            ssl_ca_location=self.cafile or self.capath,
            ssl_ca_pem=ssl.DER_cert_to_PEM_cert(data) if isinstance(data, bytes) else data,
            ssl_certificate_location=self.certfile,
            ssl_key_location=self.keyfile or self.certfile,
            ssl_key_password=self.password,
        )
        return {**_context_settings(self.context), **given}


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthCredentials:
    """OAUTHBEARER with tokens that the Kafka client gets by itself, with the client credentials grant (OIDC)."""

    token_endpoint: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    client_secret_file: str | None = None
    scope: str | None = None
    extensions: str | None = None
    oauth_cb: Any = None
    ssl_context: ssl.SSLContext | SSLCredentials | None = None

    def __post_init__(self) -> None:
        if self.oauth_cb is not None:
            raise NotOffered(
                "OAuthCredentials(oauth_cb=...): the coordinator connects too and does not run your code, so it cannot "
                "call a function of the app. Give token_endpoint, client_id and client_secret_file."
            )

    def settings(self) -> dict[str, Any]:
        """The settings that this stands for."""
        return {
            # As in Faust: no TLS context, no TLS.
            "broker_security_protocol": "SASL_PLAINTEXT" if self.ssl_context is None else "SASL_SSL",
            "sasl_mechanism": "OAUTHBEARER",
            **_given(
                oauth_token_endpoint=self.token_endpoint,
                oauth_client_id=self.client_id,
                oauth_client_secret=self.client_secret,
                oauth_client_secret_file=self.client_secret_file,
                oauth_scope=self.scope,
                oauth_extensions=self.extensions,
            ),
            **_tls_of(self.ssl_context),
        }


class GSSAPICredentials:
    """Kerberos, which the Kafka client that pip installs is built without."""

    def __init__(self, **_arguments: Any) -> None:
        raise NotOffered(
            "GSSAPICredentials: confluent-kafka's wheels are built without Kerberos. Use SCRAM or client certificates, "
            "or build it with libsasl2 and set broker_options (security.protocol, sasl.mechanism=GSSAPI, ...)."
        )


Credentials = SASLCredentials | SSLCredentials | OAuthCredentials


def credential_settings(credentials: object) -> dict[str, Any]:
    """The settings that `broker_credentials` stands for; an ssl.SSLContext alone is TLS, as in Faust.

    Raises:
        AppError: it is something else.
    """
    if credentials is None:
        return {}
    if isinstance(credentials, ssl.SSLContext):
        credentials = SSLCredentials(credentials)
    if not isinstance(credentials, Credentials):
        kind = type(credentials).__name__
        raise AppError(f"App(broker_credentials=...): a {kind} is none; give SASLCredentials, SSLCredentials or such.")
    return credentials.settings()


def _tls_of(tls: ssl.SSLContext | SSLCredentials | None) -> dict[str, Any]:
    if tls is None:
        return {}
    return tls.tls() if isinstance(tls, SSLCredentials) else _context_settings(tls)


def _context_settings(context: ssl.SSLContext | None) -> dict[str, Any]:
    """What can be read out of a context: whom it trusts, and whether it checks names."""
    if context is None:
        return {}
    if context.verify_mode != ssl.CERT_REQUIRED:
        raise NotOffered(
            "a TLS context that does not check certificates: anybody could be the broker. Give the CA that signed the "
            "brokers' certificates (cafile=...)."
        )
    trusted = context.get_ca_certs(binary_form=True)
    found: dict[str, Any] = {} if context.check_hostname else {"ssl_check_hostname": False}
    # The CAs of the machine are what the Kafka client trusts without being told.
    if trusted and trusted != ssl.create_default_context().get_ca_certs(binary_form=True):
        found["ssl_ca_pem"] = "".join(ssl.DER_cert_to_PEM_cert(one) for one in trusted)
    return found


def _given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
