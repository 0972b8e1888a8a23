"""What the pages show: wells, treatments beside each other, filters, pictures at one contrast, hits."""

import html
import io
import re
from urllib.parse import parse_qsl

import numpy as np
import pytest
from PIL import Image

from tests.browse.conftest import DOSES, EVIL, SIDE, write_folder
from virtassay.browse.app import open_folder
from virtassay.browse.asked import Asked, BadQuery
from virtassay.browse.datasets import ON_A_PAGE, Shelf
from virtassay.browse.hits import BrokenScreen
from virtassay.data.dataset.store import DatasetInfo, open_dataset, write_dataset
from virtassay.report.pictures import composite, display_limits


def picture(answer) -> np.ndarray:
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(answer.body)))


def shown(text: str, side: str) -> list[int]:
    return [int(row) for row in re.findall(rf'src="/pixels/{side}/(\d+)\.png', text)]


def test_a_plate_has_each_of_its_wells_once_with_what_was_done(site):
    text = site.get("/plates?plate=week2%2Fp1").text
    wells = re.findall(r'<a href="/plates\?[^"]*well=(B\d\d)[^"]*"[^>]*aria-label="([^"]*)"', text)
    assert [name for name, _ in wells] == [f"B{n:02d}" for n in range(1, 7)]
    assert wells[3][1] == "B04: taxol 3 µM, 60 images"
    assert text.count('class="control"') == 2  # one well, and the legend


def test_wells_take_the_colour_of_a_column(site):
    by_split = site.get("/plates?colour=split").text
    fills = re.findall(r'fill="(#\w+)"', by_split.partition('class="key"')[0])
    assert len(fills) == 6
    assert len(set(fills)) == 2
    assert fills[0::2] == [fills[0]] * 3
    averaged = site.get("/plates?colour=cells").text
    assert "cells 30," in averaged
    assert site.get("/plates?colour=nothing").status == 404


def test_a_well_shows_its_images_beside_generated_ones_and_controls(site, real, generated):
    text = site.get("/plates?plate=week1/p1&well=B03").text
    index = open_dataset(real).index
    mine = index["well"].gather(shown(text, "folder")).to_list()
    assert mine == ["B03"] * 18 + ["B01"] * 9
    beside = open_dataset(generated).index[shown(text, "beside")]
    assert set(beside["treatment"]) == {"taxol 1 µM"}
    assert set(beside["batch"]) == {"week1"}
    assert "18 of 60" in text


def test_a_treatment_stands_beside_what_was_generated_for_it_in_each_batch(site, real, generated):
    text = site.get("/treatments?perturbation=taxol&dose=0.3").text
    assert re.findall(r"<h3>(.*?)</h3>", text) == ["week1", "week2"]
    for batch, part in zip(("week1", "week2"), text.split("<h3>")[1:], strict=True):
        rows = open_dataset(real).index[shown(part, "folder")]
        made = open_dataset(generated).index[shown(part, "beside")]
        assert set(rows["batch"]) | set(made["batch"]) == {batch}
        assert rows["treatment"].to_list() == ["DMSO"] * 9 + ["taxol 0.3 µM"] * 9
        assert made["treatment"].to_list() == ["taxol 0.3 µM"] * 3


def test_doses_stand_in_rising_order_and_another_compounds_dose_gives_way(site):
    text = site.get("/treatments?perturbation=taxol&dose=77").text
    assert re.findall(r">(\S+) µM</a>", text) == [f"{dose:g}" for dose in DOSES]
    assert "<h2>taxol 3 µM</h2>" in text
    assert '<input type="range" id="slider" min="0" max="2" value="2"' in text


def test_a_treatment_that_was_not_generated_says_none(site):
    assert site.get("/treatments?perturbation=KIF11").text.count('class="none"') == 2


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("perturbation=taxol", 360),
        ("perturbation=taxol&dose=3", 120),
        ("dose=1", 240),
        ("batch=week1&split=test&perturbation=taxol", 120),
        ("batch=nowhere", 0),
        ("", 720),
    ],
)
def test_filters_keep_what_the_index_says(site, query, expected):
    text = site.get(f"/images?{query}").text
    assert f"{expected:,} images, page 1" in text
    assert len(shown(text, "folder")) == min(expected, ON_A_PAGE)


def test_pages_turn_and_stop_at_the_last(site):
    first, last = site.get("/images?page=1"), site.get("/images?page=15")
    assert shown(first.text, "folder") == list(range(ON_A_PAGE))
    assert shown(last.text, "folder") == list(range(700, 720))
    assert 'rel="next"' not in last.text
    assert site.get("/images?page=999999999999999999").text == last.text


def test_a_picture_is_the_image_at_the_folders_contrast(site, real):
    dataset = open_dataset(real)
    limits = display_limits(Shelf.open(real, None).folder.sample, 5, 90)
    expected = composite(dataset.images(np.array([7])), dataset.info.channels, limits)[0]
    assert np.array_equal(picture(site.get("/pixels/folder/7.png?low=5&high=90&full=1")), expected)


def test_one_channel_is_grey_and_real_and_generated_share_their_contrast(site, real, generated):
    for side, root in (("folder", real), ("beside", generated)):
        stored = open_dataset(root).images(np.array([3]))[0, 0].astype(float)
        low, high = display_limits(Shelf.open(real, None).folder.sample)[0]
        expected = (np.clip((stored - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
        assert np.array_equal(picture(site.get(f"/pixels/{side}/3.png?channel=DNA&full=1")), expected)


def test_large_images_are_sent_small_unless_asked_for_whole(tmp_path, serve):
    index = open_dataset(write_folder(tmp_path / "small", images=1)).index.drop("shard", "offset", "treatment")
    info = DatasetInfo("large", ("DNA",), (1, 400, 300), "uint8")
    images = np.random.default_rng(0).integers(0, 255, (len(index), 1, 400, 300), np.uint8)
    site = serve(write_dataset(tmp_path / "large", info, images, index))
    assert picture(site.get("/pixels/folder/0.png")).shape == (192, 144, 3)
    assert picture(site.get("/pixels/folder/0.png?full=1")).shape == (400, 300, 3)


def test_one_image_shows_every_channel_and_its_row(site):
    text = site.get("/image/beside/0").text
    assert re.findall(r"<figcaption>(.*?)</figcaption>", text) == ["composite", "DNA", "actin"]
    assert "week1-0-0" in text


def test_only_what_a_page_shows_reaches_the_browser(site):
    assert len(site.get("/images").body) < 60_000


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


def test_wells_with_names_of_their_own_stand_in_order(tmp_path, serve):
    index = open_dataset(write_folder(tmp_path / "a", images=1)).index.drop("shard", "offset", "treatment")
    wells = [f"A{10**9 + n}" if n % 2 else f"field {n}" for n in range(len(index))]
    images = np.zeros((len(index), 1, 4, 4), np.uint8)
    info = DatasetInfo("b", ("DNA",), (1, 4, 4), "uint8")
    site = serve(write_dataset(tmp_path / "b", info, images, index.with_columns(well=np.array(wells))))
    text = site.get("/plates").text
    assert "not named like B03" in text
    assert text.count("<title>field") == 3


def test_folders_that_are_none_are_named(tmp_path, real, hits):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"neither dataset\.json .* Did you mean .*mine"):
        open_folder(real.parent)
    with pytest.raises(ValueError, match="holds the hits of a screen and no images"):
        open_folder(hits, real)


def test_folders_that_cannot_stand_beside_each_other_are_refused(tmp_path, real):
    index = open_dataset(real).index.drop("shard", "offset", "treatment")
    info = DatasetInfo("other", ("mito",), (1, SIDE, SIDE), "uint8")
    other = write_dataset(tmp_path / "other", info, np.zeros((len(index), 1, SIDE, SIDE), np.uint8), index)
    with pytest.raises(ValueError, match="cannot stand beside"):
        open_folder(real, other)
    vectors = DatasetInfo("vectors", ("f1",), (1, 1, 1), "float32")
    profiles = write_dataset(tmp_path / "vectors", vectors, np.zeros((len(index), 1, 1, 1), np.float32), index)
    with pytest.raises(ValueError, match="feature vectors"):
        open_folder(profiles)


def test_a_broken_screen_is_named(tmp_path):
    (tmp_path / "hits.parquet").write_bytes(b"no parquet")
    with pytest.raises(BrokenScreen, match="cannot be read"):
        open_folder(tmp_path)
    open_dataset(write_folder(tmp_path / "a", images=1)).index.select("well").write_parquet(tmp_path / "hits.parquet")
    with pytest.raises(BrokenScreen, match="lacks the columns"):
        open_folder(tmp_path)


def test_a_query_survives_its_own_address():
    asked = Asked(perturbation=EVIL, dose="0.3", low=2.5, page=3)
    _, _, query = asked.url("/images").partition("?")
    assert Asked.of(dict(parse_qsl(query))) == asked
    assert asked.url("/images", page=1, perturbation="", dose="", low=1.0) == "/images"


@pytest.mark.parametrize("query", [{"page": "x"}, {"low": "nan"}, {"low": "9", "high": "3"}, {"high": "1e999"}])
def test_queries_without_sense_are_refused(query):
    with pytest.raises(BadQuery):
        Asked.of(query)


def test_a_screen_without_report_or_plate_can_be_looked_at(tmp_path, hits, serve):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "hits.parquet").write_bytes((hits / "hits.parquet").read_bytes())
    site = serve(bare)
    assert site.get("/hits").status == 200
    assert site.get("/hit/1").text.count("svg+xml") == 1  # the doses are not known: no curve
    assert [site.get(path).status for path in ("/plate", "/report")] == [404, 404]
