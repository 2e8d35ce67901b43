"""What of the settings may be shown to anybody: values that are secret, or may hold one, are hidden."""

from __future__ import annotations

import re
from collections.abc import Mapping

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
