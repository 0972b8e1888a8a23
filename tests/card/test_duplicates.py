"""Copies are found, byte for byte."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.toy_screen import write_screen
from virtassay.card.duplicates import duplicates
from virtassay.data.dataset.store import open_dataset, write_dataset


def test_every_exact_copy_is_found_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    screen = open_dataset(write_screen(tmp_path / "screen", images_per_well=2))
    monkeypatch.setattr("virtassay.card.duplicates.CHUNK", 7)
    assert duplicates(screen)["n_images"] == 0
    images = screen.images()
    index = screen.index.drop("shard", "offset", "treatment")
    split = index["split"].to_numpy()
    first = int(np.flatnonzero(split == "train")[0])
    tested = int(np.flatnonzero(split == "test")[0])
    images[tested] = images[first]
    well = index.with_row_index("_row").filter(pl.col("split") == "val").group_by("plate", "well").agg("_row")
    copied, copy = well["_row"][0][:2]
    images[copy] = images[copied]
    write_dataset(tmp_path / "copied", screen.info, images, index)
    found = duplicates(open_dataset(tmp_path / "copied"))
    assert (found["n_images"], found["n_groups"], found["across_splits"], found["across_wells"]) == (4, 2, 1, 1)
    assert set(found["groups"][0]["split"]) == {"train", "test"}  # the grave one first
    assert set(found["groups"][0]["image_id"]) == set(index["image_id"].gather([first, tested]))
