"""A second listener of the development broker, with SASL and TLS, and rights that are checked: for tests of security.

Text for `server.properties` and arguments for formatting, made from what was asked for. Makes no files, starts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

LISTENER = "SECURED"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
_PREFIX = f"listener.name.{LISTENER.lower()}"


class Secured(msgspec.Struct, frozen=True):
    """What the secured listener is made of. The plain one stays, for the nodes themselves and for administration.

    Args:
        certificate: a PEM file with the nodes' unencrypted key (PKCS#8), their certificate and its CA.
        users: name -> password, of PLAIN and SCRAM. Letters, digits and dashes only. OAUTHBEARER takes any unsigned
            token, as Kafka does by default.
        rights: check ACLs. Who comes by the plain listener may do everything, anybody else what ACLs allow.
    """

    certificate: Path
    users: Mapping[str, str]
    rights: bool = False

    def properties(self) -> dict[str, object]:
        """What every node is told."""
        users = " ".join(f'user_{name}="{password}"' for name, password in self.users.items())
        settings: dict[str, object] = {
            f"{_PREFIX}.ssl.keystore.type": "PEM",
            f"{_PREFIX}.ssl.keystore.location": self.certificate.absolute(),
            f"{_PREFIX}.sasl.enabled.mechanisms": ",".join(MECHANISMS),
            f"{_PREFIX}.plain.sasl.jaas.config": f"{_MODULES}.plain.PlainLoginModule required {users};",
            f"{_PREFIX}.oauthbearer.sasl.jaas.config": (
                f'{_MODULES}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
            ),
        }
        for mechanism in ("scram-sha-256", "scram-sha-512"):
            settings[f"{_PREFIX}.{mechanism}.sasl.jaas.config"] = f"{_MODULES}.scram.ScramLoginModule required;"
        if self.rights:
            settings["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
            settings["super.users"] = "User:ANONYMOUS"
        return settings

    def format_arguments(self) -> list[str]:
        """What formatting a node's storage is told, for SCRAM users to be there from the first moment."""
        return [
            argument
            for name, password in self.users.items()
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for argument in ("--add-scram", f"{mechanism}=[name={name},password={password}]")
        ]


_MODULES = "org.apache.kafka.common.security"
