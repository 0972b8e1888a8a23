"""What the application refuses: paths out of the folder, other hosts, numbers beyond sense, names that are code."""

import http.client
from urllib.parse import quote

import pytest

from tests.browse.conftest import EVIL
from virtassay.browse.app import open_pages

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


def test_a_name_made_to_point_here_is_refused(site):
    assert site.get("/plates", host="evil.example").status == 400
    assert site.get("/plates", host=f"localhost:{site.port}").status == 200


def test_only_get_is_answered(site):
    connection = http.client.HTTPConnection("127.0.0.1", site.port)
    connection.request("POST", "/plates")
    assert connection.getresponse().status == 405
    connection.close()


def test_folders_that_are_none_are_named(tmp_path, real, hits):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        open_pages(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"neither dataset\.json .* Did you mean .*mine"):
        open_pages(real.parent)
    with pytest.raises(ValueError, match="holds the hits of a screen and no images"):
        open_pages(hits, real)
