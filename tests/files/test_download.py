"""Downloads from a real server on the loopback: fetched once, resumed where they were cut, refused when they differ."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from virtassay.files import RemoteFile, cache_folder, fetch, fetch_into, size_at
from virtassay.files.download import BLOCK, SUMS

DATA = np.random.default_rng(0).bytes(5 * BLOCK + 123)
SHA256 = hashlib.sha256(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves DATA as /file; cuts each answer after `cut` bytes of it, and knows Range or does not."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cut: int | None = None
        self.ranges = True
        self.data = DATA
        self.asked: list[str | None] = []  # the Range of each request
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers["Range"]
        server.asked.append(wanted)
        if self.path != "/file":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        if start >= len(server.data):
            self.send_error(416)
            return
        body = server.data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        body = body[: server.cut] if self.command == "GET" else b""
        server.sent += len(body)
        self.wfile.write(body)


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VIRTASSAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_file_is_fetched_once(server, cache):
    file = RemoteFile("weights.bin", server.url, SHA256)
    assert fetch(file) == cache / "weights.bin"
    assert fetch(file).read_bytes() == DATA
    assert server.asked == [None]
    assert sorted(p.name for p in cache.iterdir()) == ["weights.bin", "weights.bin.lock"]


def test_a_cut_download_goes_on_where_it_ended(server):
    server.cut = 2 * BLOCK
    assert fetch(RemoteFile("weights.bin", server.url, SHA256)).read_bytes() == DATA
    assert server.asked == [None, f"bytes={2 * BLOCK}-", f"bytes={4 * BLOCK}-"]
    assert server.sent == len(DATA)  # nothing twice


def test_a_download_that_stops_coming_is_kept_for_the_next_call(server, cache, monkeypatch):
    file = RemoteFile("weights.bin", server.url, SHA256)
    server.cut = 2 * BLOCK
    monkeypatch.setattr(Handler, "do_GET", _cut_once(Handler.do_GET))
    with pytest.raises(FileNotFoundError, match=r"what has come is kept.*" + str(cache / "weights.bin")):
        fetch(file)
    assert (cache / "weights.bin.part").read_bytes() == DATA[: 2 * BLOCK]
    assert not (cache / "weights.bin").exists()
    monkeypatch.undo()
    monkeypatch.setenv("VIRTASSAY_CACHE", str(cache))
    server.cut = None
    assert fetch(file).read_bytes() == DATA
    assert server.asked[-1] == f"bytes={2 * BLOCK}-"


def _cut_once(do_get):
    def get(self: Handler) -> None:
        if self.server.asked:
            self.server.cut = 0
        do_get(self)

    return get


def test_a_server_that_ignores_range_sends_all_of_it_again(server, cache):
    server.ranges = False
    cache.mkdir()
    (cache / "weights.bin.part").write_bytes(DATA[:1000])
    assert fetch(RemoteFile("weights.bin", server.url, SHA256)).read_bytes() == DATA
    assert server.asked == ["bytes=1000-"]


def test_a_part_that_is_complete_needs_no_byte_more(server, cache):
    cache.mkdir()
    (cache / "weights.bin.part").write_bytes(DATA)
    assert fetch(RemoteFile("weights.bin", server.url, SHA256)).read_bytes() == DATA
    assert server.sent == 0


def test_another_file_than_expected_is_refused_and_leaves_nothing(server, cache):
    server.data = DATA[:-1] + b"?"
    file = RemoteFile("weights.bin", server.url, SHA256)
    with pytest.raises(ValueError, match=rf"not the file expected.*{SHA256}"):
        fetch(file)
    assert [p.name for p in cache.iterdir()] == ["weights.bin.lock"]
    server.data = DATA
    assert fetch(file).read_bytes() == DATA


def test_a_part_of_another_version_is_refused_once_and_then_forgotten(server, cache):
    cache.mkdir()
    (cache / "weights.bin.part").write_bytes(b"?" * 1000)
    file = RemoteFile("weights.bin", server.url, SHA256)
    with pytest.raises(ValueError, match="Try again"):
        fetch(file)
    assert fetch(file).read_bytes() == DATA


def test_a_damaged_file_in_the_cache_is_refused(server, cache):
    cache.mkdir()
    (cache / "weights.bin").write_bytes(DATA[:-5])
    with pytest.raises(ValueError, match=rf"{cache / 'weights.bin'} is refused.*{SHA256}.*Remove it"):
        fetch(RemoteFile("weights.bin", server.url, SHA256))
    assert server.asked == []


def test_a_file_that_is_not_there_says_where_to_put_it(server, cache):
    url = server.url.replace("/file", "/elsewhere")
    with pytest.raises(FileNotFoundError, match=rf"weights.bin is not in .*404.*{url}.*{cache / 'weights.bin'}"):
        fetch(RemoteFile("weights.bin", url, SHA256))


def test_without_a_network_the_message_is_the_same(server, cache):
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(FileNotFoundError, match=rf"could not be downloaded.*{url}.*{cache / 'weights.bin'}"):
        fetch(RemoteFile("weights.bin", url, SHA256))


def test_a_given_path_is_used_if_it_is_that_file(server, tmp_path):
    file = RemoteFile("weights.bin", server.url, SHA256)
    mine = tmp_path / "mine.bin"
    mine.write_bytes(DATA)
    assert fetch(file, mine) == mine
    mine.write_bytes(DATA + b"!")
    with pytest.raises(ValueError, match=rf"mine.bin is refused.*{SHA256}"):
        fetch(file, mine)
    with pytest.raises(FileNotFoundError, match=rf"no file .*other.bin.*{server.url}"):
        fetch(file, tmp_path / "other.bin")
    assert server.asked == []


def test_many_at_once_download_once(server):
    file = RemoteFile("weights.bin", server.url, SHA256)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(file), range(4)))
    assert len(set(paths)) == 1 and server.asked == [None]


def test_the_cache_is_the_users_unless_told_otherwise(monkeypatch, cache):
    assert cache_folder() == cache
    monkeypatch.delenv("VIRTASSAY_CACHE")
    assert cache_folder().name == "virtassay"


def test_without_a_published_checksum_the_first_download_is_trusted_and_later_ones_are_verified(server, tmp_path):
    place = fetch_into(tmp_path, "deep/weights.bin", server.url)
    assert place == tmp_path / "deep" / "weights.bin" and place.read_bytes() == DATA
    assert (tmp_path / SUMS).read_text() == f"{SHA256}  deep/weights.bin\n"
    assert fetch_into(tmp_path, "deep/weights.bin", server.url) == place and server.asked == [None]
    place.write_bytes(DATA[:-1])
    with pytest.raises(ValueError, match=rf"deep/weights.bin is refused.*{SHA256}"):
        fetch_into(tmp_path, "deep/weights.bin", server.url)
    place.unlink()
    server.data = DATA[:-1] + b"?"  # the publisher's file has changed since
    with pytest.raises(ValueError, match=rf"not the file expected.*{SHA256}"):
        fetch_into(tmp_path, "deep/weights.bin", server.url)


def test_a_table_of_checksums_of_ones_own_is_used(server, tmp_path):
    (tmp_path / SUMS).write_text(f"{SHA256.upper()} *weights.bin\n\n{'0' * 64}  other.bin\n")
    fetch_into(tmp_path, "weights.bin", server.url)
    with pytest.raises(ValueError, match=r"not the file expected.*0000"):
        fetch_into(tmp_path, "other.bin", server.url)
    (tmp_path / "mine.bin").write_bytes(b"mine")  # not downloaded by us, and in no table: taken as it is
    assert fetch_into(tmp_path, "mine.bin", server.url).read_bytes() == b"mine"
    (tmp_path / SUMS).write_text("abc weights.bin\n")
    with pytest.raises(ValueError, match=r"SHA256SUMS: \['abc weights.bin'\] is not of the form"):
        fetch_into(tmp_path, "weights.bin", server.url)


def test_the_size_is_asked_of_the_server(server):
    assert size_at(server.url) == len(DATA)
    assert size_at(server.url.replace("/file", "/elsewhere")) is None
    server.shutdown()
    server.server_close()
    assert size_at(server.url) is None
