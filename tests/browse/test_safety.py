"""What the server refuses: paths out of the folder, other names for it, numbers beyond sense, names that are code."""

import http.client
import os
from urllib.parse import quote

import pytest

from tests.browse.conftest import EVIL, write_hits
from virtassay.browse.app import open_folder
from virtassay.browse.hits import BrokenScreen
from virtassay.browse.server import is_loopback, listen

OUTSIDE = (
    "/../../../../etc/passwd",
    "/..%2f..%2f..%2fetc%2fpasswd",
    "/pixels/folder/..%2f..%2fdataset.json",
    "/pixels/..%2f..%2fetc/passwd.png",
    "/pixels/%2e%2e/%2e%2e/dataset.json.png",
    "/image/folder/%2e%2e%2fdataset.json",
    "/dataset.json",
    "/index.parquet",
    "/images/00000.bin",
    "/app.py",
    "//etc/passwd",
    "/report/../dataset.json",
    "/hit/..%2freport.html",
    "/%00",
)


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_path_leads_to_a_file(site, screen_site, path):
    for one in (site, screen_site):
        answer = one.get(path)
        assert answer.status == 404
        assert b"root:" not in answer.body
        assert b"virtassay-dataset" not in answer.body


@pytest.mark.parametrize(
    "path",
    ["720", "-1", "1e3", "٣", "0x1", "9" * 30, "9" * 5000, "a", "1.5", "%20"],
)
def test_images_that_are_not_there_are_not_found(site, path):
    for kind in (f"/pixels/folder/{path}.png", f"/image/folder/{path}", f"/pixels/elsewhere/{path}.png"):
        assert site.get(kind).status == 404


def test_a_hit_that_is_not_there_is_not_found(screen_site):
    assert {screen_site.get(f"/hit/{rank}").status for rank in ("0", "7", "-1", "x", "9" * 40, "²")} == {404}


@pytest.mark.parametrize("query", ["low=x", "low=90&high=10", "high=inf", "page=1e5", "low=-1", "page=%00"])
def test_nonsense_in_the_query_is_a_bad_request(site, query):
    answer = site.get(f"/images?{query}")
    assert answer.status == 400
    assert "Back to the beginning" in answer.text


@pytest.mark.parametrize(
    "path", ["/plates?plate=x", "/plates?well=Z99", "/treatments?perturbation=x", "/images?channel=x"]
)
def test_names_that_are_not_in_the_folder_are_not_found(site, path):
    assert site.get(path).status == 404


@pytest.mark.parametrize(
    "path", ["/plates", "/plates?well=B05", "/treatments", "/images?perturbation=", "/image/folder/250"]
)
def test_names_are_shown_as_text(site, path):
    text = site.get(path).text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(" in text


def test_an_evil_name_can_be_asked_for_and_comes_back_as_text(site, screen_site):
    answer = site.get(f"/treatments?perturbation={quote(EVIL)}")
    assert answer.status == 200
    assert "<script>alert" not in answer.text
    refused = site.get("/plates?plate=<script>alert(1)</script>")
    assert refused.status == 404
    assert "&lt;script&gt;" in refused.text
    for path in ("/hits", "/hit/2", "/plate"):
        assert "<script>alert" not in screen_site.get(path).text


def test_pages_may_load_nothing_from_elsewhere(site, screen_site):
    for one, path in ((site, "/plates"), (site, "/nowhere"), (screen_site, "/hits"), (site, "/pixels/folder/0.png")):
        headers = one.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; img-src 'self' data:;")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
    for path in ("/plates", "/treatments", "/images", "/browse.css", "/browse.js"):
        assert "//" not in site.get(path).text.replace("// ", "").replace("/p1", "")


def test_a_report_in_the_folder_may_run_nothing(screen_site):
    answer = screen_site.get("/report")
    assert answer.status == 200
    assert answer.headers["content-security-policy"].endswith("sandbox")


def test_a_name_made_to_point_here_is_refused(site):
    assert site.get("/plates", host="evil.example").status == 400
    assert site.get("/plates", host=f"localhost:{site.port}").status == 200


def test_only_get_is_answered(site):
    connection = http.client.HTTPConnection("127.0.0.1", site.port)
    connection.request("POST", "/plates")
    assert connection.getresponse().status == 405
    connection.close()


@pytest.mark.parametrize("name", ["hits.parquet", "report.json", "plate.csv"])
def test_links_out_of_a_screens_folder_are_refused(tmp_path, hits, name):
    folder = write_hits(tmp_path / "found")
    (folder / name).unlink()
    os.symlink(hits / name, folder / name)
    with pytest.raises(BrokenScreen, match="outside the folder"):
        open_folder(folder)


def test_a_report_that_is_a_link_out_is_refused(tmp_path, hits, serve):
    folder = write_hits(tmp_path / "found")
    (folder / "report.html").unlink()
    os.symlink(hits / "report.html", folder / "report.html")
    answer = serve(folder).get("/report")
    assert answer.status == 404
    assert "outside the folder" in answer.text


def test_loopback_is_known_by_its_address():
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost")] == [True] * 3
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.4", "lab.example")] == [False] * 4


def test_a_port_that_is_taken_or_none_is_named():
    with listen("127.0.0.1", 0) as taken, pytest.raises(OSError, match="give another port"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ValueError, match=r"0 .* to 65535"):
        listen("127.0.0.1", 70000)
