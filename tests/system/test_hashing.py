import hashlib
import os
import time

import pytest

from fervis.datasets.paths import existing_path
from fervis.errors import ConfigError
from fervis.system import hashing
from fervis.system.hashing import content_hash, files_below, forget_hash

SETTLED = 0.06


def test_a_file_has_the_sha_256_of_its_bytes(tmp_path):
    held = bytes(range(256)) * 9000
    (tmp_path / "x").write_bytes(held)
    assert content_hash(tmp_path / "x", tmp_path / "cache") == hashlib.sha256(held).hexdigest()


def test_a_folder_has_the_hash_of_its_sorted_names_and_files(tmp_path):
    folder = tmp_path / "data"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "x").write_text("one")
    (folder / "a").write_text("two")
    one, two = (hashlib.sha256(word).hexdigest() for word in (b"one", b"two"))
    expected = hashlib.sha256(f"a\0{two}\nb/x\0{one}\n".encode()).hexdigest()
    assert content_hash(folder, tmp_path / "cache") == expected
    (folder / ".DS_Store").write_text("hidden")
    assert content_hash(folder, tmp_path / "cache") == expected
    folder.rename(tmp_path / "moved")
    assert content_hash(tmp_path / "moved", tmp_path / "cache") == expected


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_did_not_change_is_not_read_again(kind, tmp_path, monkeypatch):
    folder, cache = tmp_path / "data", tmp_path / "cache"
    folder.mkdir()
    (folder / "x").write_text("one")
    path = folder if kind == "folder" else folder / "x"
    time.sleep(SETTLED)
    first = content_hash(path, cache)
    read = []
    monkeypatch.setattr(hashing, "file_hash", lambda file: read.append(file) or "0" * 64)
    assert content_hash(path, cache) == first
    assert read == []
    forget_hash(path, cache)
    assert list(cache.iterdir()) == []
    assert content_hash(path, cache) != first
    assert read == [folder / "x"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_change_that_keeps_size_and_time_is_seen(kind, tmp_path):
    folder, cache = tmp_path / "data", tmp_path / "cache"
    folder.mkdir()
    (folder / "x").write_text("one")
    path = folder if kind == "folder" else folder / "x"
    time.sleep(SETTLED)
    before, stat = content_hash(path, cache), (folder / "x").stat()
    (folder / "x").write_text("two")
    os.utime(folder / "x", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert content_hash(path, cache) != before
    (folder / "x").write_text("one")
    assert content_hash(path, cache) == before


def test_a_file_that_may_still_change_leaves_no_record(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("one")
    stat = (tmp_path / "x").stat()
    monkeypatch.setattr(hashing.time, "time_ns", lambda: stat.st_ctime_ns + 1000)
    content_hash(tmp_path / "x", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_broken_record_is_replaced(tmp_path):
    (tmp_path / "x").write_text("one")
    time.sleep(SETTLED)
    first = content_hash(tmp_path / "x", tmp_path / "cache")
    (record,) = (tmp_path / "cache").iterdir()
    for broken in ("", "{", "[]", "{}", "\x00"):
        record.write_text(broken)
        assert content_hash(tmp_path / "x", tmp_path / "cache") == first
    assert first in record.read_text()


def test_files_below_are_sorted_and_links_that_turn_round_end(tmp_path):
    for name in ("b/2", "b/1", "a.x", "a/z"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    assert [name for name, _ in files_below(tmp_path)] == sorted(["a.x", "a/z", "b/1", "b/2"])


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        content_hash(tmp_path / "x", tmp_path / "cache")
    (tmp_path / "faces").mkdir()
    assert existing_path(str(tmp_path / "faces"), "k") == tmp_path / "faces"
    with pytest.raises(ConfigError, match=r"^k is empty: say where the data is with k=<file or folder>\.$"):
        existing_path("", "k")
    with pytest.raises(ConfigError, match=r"facse/a/x\.csv: there is no .*; .* holds no facse\. Did you mean faces\?"):
        existing_path(str(tmp_path / "facse" / "a" / "x.csv"), "k")
