"""The data directory: one owner at a time, one cluster for ever, and messages that name what is wrong."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from streamcluster.errors import ConfigurationError
from streamcluster_coordinator.broker import datadir
from streamcluster_coordinator.broker.datadir import ClusterFile, claim, is_formatted, open_cluster


def test_a_new_directory_founds_a_cluster_that_is_found_again(tmp_path: Path) -> None:
    """The second opening gives the same cluster."""
    with claim(tmp_path / "new"):
        founded = open_cluster(tmp_path / "new", brokers=1, kafka="4.4.0")
        assert open_cluster(tmp_path / "new", brokers=1, kafka="4.4.0") == founded


def test_a_directory_has_one_owner_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second claim is refused with the owner's process id, and works once the first is given back."""
    monkeypatch.setattr(datadir, "LOCK_PATIENCE_SECONDS", 0.1)
    with claim(tmp_path), pytest.raises(ConfigurationError, match=r"in use by another broker \(started by process \d+"):
        claim(tmp_path)

    claim(tmp_path).close()


def test_a_directory_is_for_its_user_alone(tmp_path: Path) -> None:
    """A new one, and one that others may read: nobody else sees the records. One that others may write is refused."""
    for name, mode in (("new", None), ("open", 0o755), ("shared", 0o777)):
        directory = tmp_path / name
        if mode is not None:
            directory.mkdir()
            directory.chmod(mode)
        if name == "shared":
            with pytest.raises(ConfigurationError, match=r"shared is not safe: others may write .*Or give another one"):
                claim(directory)
        else:
            claim(directory).close()
            assert directory.stat().st_mode & 0o777 == 0o700


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """What it leads to stays as it is."""
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        claim(tmp_path / "data")
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    """Nothing is written into it."""
    (tmp_path / "thesis.txt").write_text("important")

    with pytest.raises(ConfigurationError, match=r"something else in it \(thesis\.txt\)"):
        claim(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The message has the path and the system's reason."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match=r"file/data cannot be used: a file is where a directory must be"):
        claim(tmp_path / "file" / "data")


def test_another_number_of_brokers_is_refused(tmp_path: Path) -> None:
    """The message says with which number it works."""
    open_cluster(tmp_path, brokers=3, kafka="4.4.0")

    with pytest.raises(ConfigurationError, match=r"of 3 brokers, not 1.*--brokers 3"):
        open_cluster(tmp_path, brokers=1, kafka="4.4.0")


def test_data_of_a_newer_kafka_is_refused(tmp_path: Path) -> None:
    """Numbers are compared as numbers: 10 is newer than 4."""
    cluster = ClusterFile(kafka="10.0.0", cluster_id="x", brokers=1)
    (tmp_path / "cluster.json").write_bytes(msgspec.json.encode(cluster))

    with pytest.raises(
        ConfigurationError,
        match=r"written by Kafka 10\.0\.0, which 4\.4\.0 cannot read: .*run 10\.0\.0 or newer with --kafka",
    ):
        open_cluster(tmp_path, brokers=1, kafka="4.4.0")


@pytest.mark.parametrize("content", [b"", b"{", b'{"kafka": "four", "cluster_id": "x", "brokers": 1}'])
def test_a_damaged_cluster_file_is_named(tmp_path: Path, content: bytes) -> None:
    """It is neither taken for good nor replaced."""
    (tmp_path / "cluster.json").write_bytes(content)

    with pytest.raises(ConfigurationError, match=r"cluster\.json cannot be read"):
        open_cluster(tmp_path, brokers=1, kafka="4.4.0")

    assert (tmp_path / "cluster.json").read_bytes() == content


def test_storage_of_another_cluster_is_refused(tmp_path: Path) -> None:
    """Only storage formatted for this cluster counts as formatted."""
    cluster = ClusterFile(kafka="4.1.1", cluster_id="ours", brokers=1)
    assert not is_formatted(tmp_path, cluster)

    (tmp_path / "data").mkdir()
    meta = tmp_path / "data" / "meta.properties"
    meta.write_text("#\nversion=1\ncluster.id=ours\n")
    assert is_formatted(tmp_path, cluster)

    meta.write_text("#\nversion=1\ncluster.id=theirs\n")
    with pytest.raises(ConfigurationError, match="belongs to cluster theirs"):
        is_formatted(tmp_path, cluster)
