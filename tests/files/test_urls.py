"""Files by URL: fetched whole, told apart by what their store says, uploaded as they lie."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from virtassay.files import fetch_url, identity, is_remote, reason, upload, write_text


@pytest.fixture
def bucket() -> Iterator[str]:
    yield "memory://files-bucket"
    file_system = fsspec.filesystem("memory")
    if file_system.exists("/files-bucket"):
        file_system.rm("/files-bucket", recursive=True)


def test_an_address_is_a_text_with_a_scheme():
    assert is_remote("s3://bucket/folder") and is_remote("https://example.org/a")
    assert not is_remote("folder/a") and not is_remote(Path("s3://bucket"))


def test_what_is_uploaded_is_fetched_again(tmp_path, bucket):
    (tmp_path / "out" / "deep").mkdir(parents=True)
    write_text(tmp_path / "out" / "a.txt", "one")
    write_text(tmp_path / "out" / "deep" / "b.txt", "two")
    write_text(tmp_path / "out" / "c.txt", "not sent")
    upload(tmp_path / "out", ["a.txt", "deep"], f"{bucket}/results/")
    files = fsspec.filesystem("memory").find("/files-bucket")
    assert sorted(files) == ["/files-bucket/results/a.txt", "/files-bucket/results/deep/b.txt"]
    local = fetch_url(f"{bucket}/results/deep/b.txt", tmp_path / "new")
    assert local == tmp_path / "new" / "b.txt" and local.read_text() == "two"
    assert identity(f"{bucket}/results/a.txt") == "3 bytes, ETag None"


def test_a_local_file_is_known_by_its_bytes(tmp_path):
    path = write_text(tmp_path / "a.smi", "CCO a")
    assert identity(path) == f"SHA-256 {hashlib.sha256(b'CCO a').hexdigest()}"
    with pytest.raises(FileNotFoundError, match=r"no library .*b\.smi: correct library="):
        identity(tmp_path / "b.smi")


def test_what_cannot_be_reached_is_named_without_its_signature(tmp_path, bucket):
    with pytest.raises(OSError, match=r"files-bucket/none\.smi cannot be read .*is the address right") as caught:
        fetch_url(f"{bucket}/none.smi?signature=secret", tmp_path / "new")
    assert "secret" not in str(caught.value).partition("(")[0]
    with pytest.raises(OSError, match="cannot be read"):
        identity(f"{bucket}/none.smi")
    with pytest.raises(OSError, match=r"nowhere:.*All of them are in .*uploads them again"):
        upload(tmp_path, ["new"], "nowhere://bucket")
    assert reason(ValueError()) == "ValueError" and reason(OSError(28, "full")) == "full"
