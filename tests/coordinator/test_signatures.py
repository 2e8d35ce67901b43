"""What hosts write for each other, signed: what is believed with the secret, and without it."""

from __future__ import annotations

import json

import pytest

from streamcluster.outside import Unreadable
from streamcluster_coordinator.answers.peer_auth import Secret
from streamcluster_coordinator.records.report import decode_report
from streamcluster_coordinator.records.signatures import Signatures

SECRET = Secret(b"a secret of all hosts")
OURS = Signatures(SECRET, "shop")
CONTENT = b'{"host":"b","peer":"10.0.0.1:7070"}'


def test_what_is_signed_comes_back_and_is_json_that_any_tool_shows() -> None:
    """The signature is its last field."""
    value = OURS.sign("report", CONTENT)

    assert OURS.check("report", value) == (CONTENT, True)
    assert json.loads(value)["peer"] == "10.0.0.1:7070"
    assert len(json.loads(value)["signature"]) == 64


@pytest.mark.parametrize(
    "other",
    [Signatures(SECRET, "orders"), Signatures(Secret(b"another secret of hosts"), "shop")],
    ids=["another app", "another secret"],
)
def test_a_signature_is_worth_nothing_elsewhere(other: Signatures) -> None:
    """Nor for another kind of record, nor for another content, nor when there is none."""
    value = OURS.sign("report", CONTENT)
    for reader, kind, told in (
        (other, "report", value),
        (OURS, "snapshot", value),
        (OURS, "report", value.replace(b"10.0.0.1", b"10.0.0.2")),
    ):
        with pytest.raises(Unreadable, match="signed with another secret"):
            reader.check(kind, told)  # type: ignore[arg-type]  # the loop's tuples lose the literal
    with pytest.raises(Unreadable, match="it is not signed"):
        OURS.check("report", CONTENT)


def test_while_not_all_hosts_have_the_secret_others_are_believed_and_told_apart() -> None:
    """Signatures optional: for the time of a rolling start."""
    early = Signatures(SECRET, "shop", required=False)

    assert early.check("report", CONTENT) == (CONTENT, False)
    assert early.check("report", Signatures(Secret(b"x" * 16), "shop").sign("report", CONTENT)) == (CONTENT, False)
    assert early.check("report", OURS.sign("report", CONTENT)) == (CONTENT, True)


def test_a_host_without_the_secret_reads_what_is_signed() -> None:
    """It signs nothing, and believes everything."""
    without = Signatures(None, "shop")

    assert without.sign("report", CONTENT) == CONTENT
    assert without.check("report", OURS.sign("report", CONTENT)) == (CONTENT, False)
    for value in (b"", b"{}", b'"}', b"x" * 79):
        assert without.check("report", value) == (value, False)
        with pytest.raises(Unreadable):
            decode_report(value)
