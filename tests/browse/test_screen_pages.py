"""The pages of a screen's folder."""

import html
import os
import re

import pytest

from tests.browse.conftest import EVIL, write_folder, write_hits
from virtassay.browse.app import open_pages
from virtassay.browse.screen_pages import BrokenScreen
from virtassay.data.dataset.store import open_dataset


def test_hits_are_ranked_filtered_and_sorted(screen_site):
    def names(query: str) -> list[str]:
        text = html.unescape(screen_site.get(f"/hits?{query}").text)
        return re.findall(r'<td class="left"><a href="/hit/\d">(.*?)</a></td>', text)

    ranked = ["ethanol", EVIL, "benzene", "acetic acid", "broken", "chloroethane"]
    assert names("") == ranked
    assert names("name=ETHA") == ["ethanol", "chloroethane"]
    assert names("name=c1cc") == ["benzene"]
    assert names("name=.*") == []
    assert names("flags=some") == [EVIL, "broken"]
    assert names("flags=none") == ["ethanol", "benzene", "acetic acid", "chloroethane"]
    assert names("sort=similarity") == ["benzene", "ethanol", EVIL, "chloroethane", "acetic acid", "broken"]
    assert names("sort=q")[-1] == "chloroethane"  # n/a comes last
    assert screen_site.get("/hits?sort=DROP").status == 404


def test_a_hit_has_its_structure_its_curve_and_its_neighbours(screen_site):
    text = screen_site.get("/hit/1").text
    assert text.count("data:image/svg+xml") == 2
    assert 'href="/hit/2"' in text
    assert "the model was never judged" in screen_site.get("/hits").text
    assert "RDKit cannot draw" in screen_site.get("/hit/5").text


def test_the_plate_for_the_lab_leads_to_compounds(screen_site):
    text = screen_site.get("/plate?colour=score").text
    wells = re.findall(r'<a href="([^"]+)"[^>]*aria-label="(A0\d: [^"]*)"', text)
    assert [url for url, _ in wells] == ["/hit/1", "/hit/3", "/plate"]
    assert wells[0][1] == "A01: ethanol 1.0 µM, score 3, 1 image"
    assert screen_site.get("/plate?colour=flagged").status == 200


def test_a_broken_screen_is_named(tmp_path):
    (tmp_path / "hits.parquet").write_bytes(b"no parquet")
    with pytest.raises(BrokenScreen, match="cannot be read"):
        open_pages(tmp_path)
    open_dataset(write_folder(tmp_path / "a", images=1)).index.select("well").write_parquet(tmp_path / "hits.parquet")
    with pytest.raises(BrokenScreen, match="lacks the columns"):
        open_pages(tmp_path)


def test_a_screen_without_report_or_plate_can_be_looked_at(tmp_path, hits, serve):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "hits.parquet").write_bytes((hits / "hits.parquet").read_bytes())
    site = serve(bare)
    assert site.get("/hits").status == 200
    assert site.get("/hit/1").text.count("svg+xml") == 1  # the doses are not known: no curve
    assert [site.get(path).status for path in ("/plate", "/report")] == [404, 404]


def test_a_hit_that_is_not_there_is_not_found(screen_site):
    assert {screen_site.get(f"/hit/{rank}").status for rank in ("0", "7", "-1", "x", "9" * 40, "²")} == {404}


def test_a_report_in_the_folder_may_run_nothing(screen_site):
    answer = screen_site.get("/report")
    assert answer.status == 200
    assert answer.headers["content-security-policy"].endswith("sandbox")


@pytest.mark.parametrize("name", ["hits.parquet", "report.json", "plate.csv"])
def test_links_out_of_a_screens_folder_are_refused(tmp_path, hits, name):
    folder = write_hits(tmp_path / "found")
    (folder / name).unlink()
    os.symlink(hits / name, folder / name)
    with pytest.raises(BrokenScreen, match="outside the folder"):
        open_pages(folder)


def test_a_report_that_is_a_link_out_is_refused(tmp_path, hits, serve):
    folder = write_hits(tmp_path / "found")
    (folder / "report.html").unlink()
    os.symlink(hits / "report.html", folder / "report.html")
    answer = serve(folder).get("/report")
    assert answer.status == 404
    assert "outside the folder" in answer.text
