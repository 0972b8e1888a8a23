"""What the pages of a dataset show: wells, treatments beside each other, images."""

import re

import numpy as np
import pytest

from tests.browse.conftest import DOSES, SIDE, shown
from virtassay.browse.app import open_pages
from virtassay.browse.dataset_pages import ON_A_PAGE
from virtassay.data.dataset.store import DatasetInfo, open_dataset, write_dataset


def test_a_plate_has_each_of_its_wells_once_with_what_was_done(site):
    text = site.get("/plates?plate=week2%2Fp1").text
    wells = re.findall(r'<a href="/plates\?[^"]*well=(B\d\d)[^"]*"[^>]*aria-label="([^"]*)"', text)
    assert [name for name, _ in wells] == [f"B{n:02d}" for n in range(1, 7)]
    assert wells[3][1] == "B04: taxol 3 µM, 60 images"
    assert text.count('class="control"') == 2  # one well, and the legend


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


def test_pages_turn_and_stop_at_the_last(site):
    first, last = site.get("/images?page=1"), site.get("/images?page=15")
    assert shown(first.text, "folder") == list(range(ON_A_PAGE))
    assert shown(last.text, "folder") == list(range(700, 720))
    assert 'rel="next"' not in last.text
    assert site.get("/images?page=999999999999999999").text == last.text


def test_one_image_shows_every_channel_and_its_row(site):
    text = site.get("/image/beside/0").text
    assert re.findall(r"<figcaption>(.*?)</figcaption>", text) == ["composite", "DNA", "actin"]
    assert "week1-0-0" in text


def test_only_what_a_page_shows_reaches_the_browser(site):
    assert len(site.get("/images").body) < 60_000


def test_folders_that_cannot_stand_beside_each_other_are_refused(tmp_path, real):
    index = open_dataset(real).index.drop("shard", "offset", "treatment")
    info = DatasetInfo("other", ("mito",), (1, SIDE, SIDE), "uint8")
    other = write_dataset(tmp_path / "other", info, np.zeros((len(index), 1, SIDE, SIDE), np.uint8), index)
    with pytest.raises(ValueError, match="cannot stand beside"):
        open_pages(real, other)
    vectors = DatasetInfo("vectors", ("f1",), (1, 1, 1), "float32")
    profiles = write_dataset(tmp_path / "vectors", vectors, np.zeros((len(index), 1, 1, 1), np.float32), index)
    with pytest.raises(ValueError, match="feature vectors"):
        open_pages(profiles)
