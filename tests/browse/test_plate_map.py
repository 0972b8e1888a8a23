"""Plates as drawings."""

import re

import numpy as np

from tests.browse.conftest import write_folder
from virtassay.data.dataset.store import DatasetInfo, open_dataset, write_dataset


def test_wells_take_the_colour_of_a_column(site):
    by_split = site.get("/plates?colour=split").text
    fills = re.findall(r'fill="(#\w+)"', by_split.partition('class="key"')[0])
    assert len(fills) == 6
    assert len(set(fills)) == 2
    assert fills[0::2] == [fills[0]] * 3
    averaged = site.get("/plates?colour=cells").text
    assert "cells 30," in averaged
    assert site.get("/plates?colour=nothing").status == 404


def test_wells_with_names_of_their_own_stand_in_order(tmp_path, serve):
    index = open_dataset(write_folder(tmp_path / "a", images=1)).index.drop("shard", "offset", "treatment")
    wells = [f"A{10**9 + n}" if n % 2 else f"field {n}" for n in range(len(index))]
    images = np.zeros((len(index), 1, 4, 4), np.uint8)
    info = DatasetInfo("b", ("DNA",), (1, 4, 4), "uint8")
    site = serve(write_dataset(tmp_path / "b", info, images, index.with_columns(well=np.array(wells))))
    text = site.get("/plates").text
    assert "not named like B03" in text
    assert text.count("<title>field") == 3
