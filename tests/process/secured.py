"""A secured Kafka for tests: SASL over TLS, certificates made by openssl, rights as `streamcluster rights` has them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub forgets them
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from streamcluster_coordinator.broker import Broker
from streamcluster_coordinator.rights import Right

PASSWORD = "pass-of-the-app"
ADMIN_SECONDS = 30.0
_KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}
_OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "Delete": AclOperation.DELETE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}


@dataclass(frozen=True, slots=True)
class SecuredKafka:
    """The brokers, and the directory with the CA's certificate and the password."""

    broker: Broker
    directory: Path

    @property
    def url(self) -> str:
        """The secured listener."""
        return f"kafka://{self.broker.secured_bootstrap}"

    def access(self, **changes: str) -> dict[str, str]:
        """The settings of an app that is let in, with changes."""
        access = {
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": "app",
            "sasl_password_file": str(self.directory / "password"),
            "ssl_ca_location": str(self.directory / "ca.pem"),
        }
        return access | changes


def make_certificates(directory: Path) -> None:
    """A CA (ca.pem), a broker's key and certificate signed by it (broker.pem), and a CA that signed nothing."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=30)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-x509", "-days", "2")
    for name in ("ca", "stranger"):
        openssl(*new, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN=test {name}")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1")
    openssl(*new, *signed, "-keyout", "broker.key", "-out", "broker.crt", "-subj", "/CN=broker")
    parts = [(directory / name).read_text() for name in ("broker.key", "broker.crt", "ca.pem")]
    (directory / "broker.pem").write_text("".join(parts))


def give(bootstrap: str, principal: str, rights: Iterable[Right]) -> None:
    """Allow `principal` these operations, and no others. bootstrap: a listener where we may do everything."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    bindings = [
        AclBinding(
            _KINDS[right.resource],
            right.name,
            ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL,
            principal,
            "*",
            _OPERATIONS[operation],
            AclPermissionType.ALLOW,
        )
        for right in rights
        for operation in right.operations
    ]
    for future in admin.create_acls(bindings).values():
        future.result(ADMIN_SECONDS)
