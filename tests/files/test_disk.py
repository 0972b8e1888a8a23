"""Whole files or none, folders that replace one another, locks between processes, room on the disk."""

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from virtassay.files import in_words, lock, replace_folder, require_space, sha256, whole, write_bytes, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_once_its_bytes_are_on_the_disk(tmp_path, monkeypatch):
    path, synced = write_text(tmp_path / "a.txt", "old"), []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size) or real(handle))
    with whole(path) as partial:
        partial.write_bytes(b"newer")
        assert path.read_text() == "old" and partial.parent == tmp_path and synced == []
    assert path.read_text() == "newer" and synced == [5] and names(tmp_path) == ["a.txt"]
    assert write_text(path, "µm\n").read_bytes() == "µm\n".encode()
    assert write_bytes(path, b"\x00\r\n").read_bytes() == b"\x00\r\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_where_writing_fails_the_old_file_stays_and_nothing_is_left(tmp_path, error):
    path = write_text(tmp_path / "a.txt", "old")
    with pytest.raises(error), whole(path) as partial:
        partial.write_text("half")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_writers_of_one_file_do_not_meet(tmp_path):
    with whole(tmp_path / "a") as one, whole(tmp_path / "a") as other:
        assert one != other
        one.write_text("1")
        other.write_text("2")
    assert (tmp_path / "a").read_text() == "1" and names(tmp_path) == ["a"]


def test_a_folder_takes_the_place_of_another_or_leaves_it(tmp_path, monkeypatch):
    new, path = tmp_path / "new", tmp_path / "folder"
    for text in ("first", "second"):
        new.mkdir()
        write_text(new / "a", text)
        replace_folder(new, path)
        assert (path / "a").read_text() == text and names(tmp_path) == ["folder"]
    new.mkdir()
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if source == new:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        replace_folder(new, path)
    assert (path / "a").read_text() == "second" and names(tmp_path) == ["folder", "new"]


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    assert Path(lock(tmp_path).lock_file) == tmp_path / ".lock"
    assert Path(lock(tmp_path / "a.bin").lock_file) == tmp_path / "a.bin.lock"
    held: list[int] = []

    def count(_: int) -> None:
        with lock(tmp_path / "a.bin"):
            held.append(1)
            assert len(held) == 1
            held.pop()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(40)))


def test_a_checksum_is_that_of_the_bytes(tmp_path):
    assert sha256(write_bytes(tmp_path / "a", b"abc")) == hashlib.sha256(b"abc").hexdigest()


def test_room_is_needed_to_the_byte_and_said_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    require_space(tmp_path, 1000, "it")
    with pytest.raises(OSError, match="it needs 1 kB in"):
        require_space(tmp_path, 1001, "it")
    assert [in_words(n) for n in (12, 839_000_000, 2_500_000_000, 10**12)] == ["0.012 kB", "839 MB", "2.5 GB", "1 TB"]


def test_room_is_looked_for_where_the_folder_will_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[Path] = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or SimpleNamespace(free=2e9))
    require_space(tmp_path / "a" / "b", 2_000_000_000, "it")
    assert asked == [tmp_path]
    with pytest.raises(OSError, match=r"it needs 100 GB in .*a/b, and .* has 2 GB free: make room"):
        require_space(tmp_path / "a" / "b", 100_000_000_000, "it")
