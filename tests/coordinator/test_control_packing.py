"""How tasks are packed into a snapshot: nothing is lost, and it is small."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster.outside import Unreadable
from streamcluster_coordinator.records.packing import pack, unpack
from streamcluster_coordinator.records.snapshot import Shape, Snapshot, decode_snapshot, encode_snapshot

slots = st.builds("{}/{}".format, st.sampled_from(["a", "b.example_x", "host-1"]), st.integers(0, 20))
tasks = st.builds("{}_{}".format, st.sampled_from([4, 10, 30]), st.integers(0, 29))


def snapshot_of(owners: dict[str, str], standbys: dict[str, tuple[str, ...]]) -> Snapshot:
    """With nothing else in it."""
    return Snapshot(
        epoch=3, term=1, leader=None, cluster_id="c", topic_id="t", shape=Shape(), owners=owners, standbys=standbys
    )


@given(st.dictionaries(tasks, slots), st.dictionaries(tasks, st.lists(slots, min_size=1, max_size=3).map(tuple)))
def test_what_is_packed_comes_back(owners: dict[str, str], standbys: dict[str, tuple[str, ...]]) -> None:
    """Owners and standbys of any tasks, in any order, tasks without one among them."""
    assert unpack(pack(owners, standbys)) == (owners, standbys)


@given(st.dictionaries(tasks, slots), st.dictionaries(tasks, st.lists(slots, min_size=1, max_size=3).map(tuple)))
def test_a_snapshot_comes_back_from_its_record(owners: dict[str, str], standbys: dict[str, tuple[str, ...]]) -> None:
    """The record is JSON that any tool shows."""
    snapshot = snapshot_of(owners, standbys)
    value = encode_snapshot(snapshot)

    assert decode_snapshot(value) == snapshot
    assert json.loads(value)["epoch"] == 3


def test_ten_thousand_tasks_with_standbys_fit_into_120_kb() -> None:
    """Uncompressed, on 800 slots of hosts with long names: a record may have 900 kB."""
    places = [f"host-{host:03}.example/{slot}" for host in range(100) for slot in range(8)]
    owners = {f"10000_{task}": places[task * 7 % 800] for task in range(10_000)}
    standbys: dict[str, tuple[str, ...]] = {f"10000_{task}": (places[task * 11 % 800],) for task in range(10_000)}

    assert len(encode_snapshot(snapshot_of(owners, standbys))) < 120_000


def test_a_number_of_no_slot_is_not_a_snapshot() -> None:
    """Whatever wrote it was no coordinator."""
    record = json.loads(encode_snapshot(snapshot_of({"4_0": "a/0"}, {})))
    record["owned"] = {"4": [7]}

    with pytest.raises(Unreadable, match="IndexError"):
        decode_snapshot(msgspec.json.encode(record))
