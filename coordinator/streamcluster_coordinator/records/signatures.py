"""What hosts write to the app's own topics, signed with the cluster's secret, and what is believed of others' records.

A record is a JSON object; its signature is its last field, so that any Kafka tool shows it, and hosts without the
secret read on. It is the HMAC-SHA256 over the kind of record, the app id and all the rest, which names the host.
Without a secret nothing is signed, and everything is believed: then who may write to the topics rules the app.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

import msgspec

from streamcluster.outside import Unreadable

from ..answers.peer_auth import Secret

_FIELD = b',"signature":"'
_END = b'"}'
_HEX_BYTES = 64
_TAIL_BYTES = len(_FIELD) + _HEX_BYTES + len(_END)

Kind = Literal["report", "snapshot"]


class Signatures(msgspec.Struct, frozen=True):
    """Of one app. secret: None: there is none. required: what is not signed with it is not believed."""

    secret: Secret | None
    app_id: str
    required: bool = True

    def sign(self, kind: Kind, content: bytes) -> bytes:
        """A record's value, of a JSON object that is not empty."""
        if self.secret is None:
            return content
        return content[:-1] + _FIELD + self._mac(self.secret, kind, content) + _END

    def check(self, kind: Kind, value: bytes) -> tuple[bytes, bool]:
        """What was signed, and whether that was with our secret.

        Raises:
            Unreadable: it was not, and it has to be.
        """
        at = len(value) - _TAIL_BYTES
        has_signature = at > 0 and value.startswith(_FIELD, at) and value.endswith(_END)
        content = value[:at] + b"}" if has_signature else value
        if self.secret is None:
            return content, False
        shown = value[at + len(_FIELD) : -len(_END)]
        if has_signature and hmac.compare_digest(shown, self._mac(self.secret, kind, content)):
            return content, True
        if self.required:
            what = "it is signed with another secret" if has_signature else "it is not signed"
            raise Unreadable(f"{what}, and is not believed (cluster_signatures=required)")
        return content, False

    def _mac(self, secret: Secret, kind: Kind, content: bytes) -> bytes:
        # Each part with its length, and none begins as a handshake's does (answers/peer_auth.py).
        parts = (f"signed {kind}".encode(), self.app_id.encode(), content)
        text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(secret.content, text, hashlib.sha256).hex().encode()
