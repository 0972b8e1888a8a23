"""Archives of strangers: what would be written outside of the folder is refused, what was cut goes on."""

import stat
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from virtassay.data.prepare.public.downloads import UnsafeArchive, unpack


def zipped(path: Path, names: list[str], link: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = ((stat.S_IFLNK if link and name.endswith("2") else stat.S_IFREG) | 0o644) << 16
            archive.writestr(info, b"x" * 1000)
    return path


def test_folders_are_made_and_what_is_there_is_left(tmp_path: Path):
    archive = zipped(tmp_path / "a.zip", ["P/1", "P/2", "3"])
    (tmp_path / "P").mkdir()
    (tmp_path / "P" / "1").write_bytes(b"y" * 1000)  # of the right size: unpacked before
    (tmp_path / "P" / "2").write_bytes(b"x" * 10)  # cut
    unpack(archive, tmp_path)
    assert (tmp_path / "P" / "1").read_bytes()[:1] == b"y"
    assert (tmp_path / "P" / "2").read_bytes() == (tmp_path / "3").read_bytes() == b"x" * 1000
    assert not list(tmp_path.rglob("*.part*"))


@pytest.mark.parametrize("name", ["../2", "P/../../2", "/etc/2", "C:/2", "\\\\host\\share\\2", "P\\..\\..\\2"])
def test_a_path_that_climbs_out_is_refused(tmp_path: Path, name: str):
    (tmp_path / "in").mkdir()
    archive = zipped(tmp_path / "a.zip", ["P/1", name])
    with pytest.raises(UnsafeArchive, match="1 of its 2 files would be written outside"):
        unpack(archive, tmp_path / "in")
    assert not list((tmp_path / "in").iterdir()) and sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "in"]


def test_a_link_is_refused(tmp_path: Path):
    with pytest.raises(UnsafeArchive, match=r"are links: \['P/2'\]"):
        unpack(zipped(tmp_path / "a.zip", ["P/1", "P/2"], link=True), tmp_path)


def test_a_damaged_archive_is_refused(tmp_path: Path):
    archive = zipped(tmp_path / "a.zip", ["P/1"])
    data = bytearray(archive.read_bytes())
    archive.write_bytes(data[:-30])
    with pytest.raises(UnsafeArchive, match=r"cannot be unpacked.*fetch it again"):
        unpack(archive, tmp_path)
    data[36] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(UnsafeArchive, match="cannot be unpacked"):
        unpack(archive, tmp_path)
    assert not (tmp_path / "P" / "1").exists()


def test_room_is_asked_for_first(tmp_path: Path, monkeypatch):
    archive = zipped(tmp_path / "a.zip", ["P/1"])
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=9))
    with pytest.raises(OSError, match=r"unpacking a\.zip needs"):
        unpack(archive, tmp_path)
    assert not (tmp_path / "P").exists()
