"""A split file is read back as it was, or refused."""

import json
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from omegaconf import OmegaConf

from tests.data.prepare.splits.screens import DRUG_LIKE, compounds
from virtassay.data.prepare import splits
from virtassay.schema import InvalidIndex


def test_a_split_file_is_read_back_as_it_was(tmp_path: Path):
    index = compounds(**DRUG_LIKE)
    split = splits.split_unseen(index, perturbations=["phenol"], batches=["b2"], seed=3)
    made = partial(splits.split_unseen, perturbations=partial(splits.by_scaffold, seed=3), batches=["b2"])
    splits.write_split(tmp_path / "split.csv", split, "own", made)
    again = splits.split_from_file(index.reverse(), path=tmp_path / "split.csv")
    assert again.reverse().equals(split)
    lines = (tmp_path / "split.csv").read_text().splitlines()
    assert lines[:2] == ["# virtassay split, version 1", "# dataset: own"] and lines[4] == "plate,well,split,held_out"
    settings = json.loads(lines[3].removeprefix("# settings: "))
    assert settings["function"].endswith("split_unseen") and settings["batches"] == ["b2"]
    assert settings["perturbations"]["function"].endswith("by_scaffold") and settings["perturbations"]["seed"] == 3


def test_settings_that_a_yaml_gave_are_told_as_they_were(index: pl.DataFrame, tmp_path: Path):
    made = partial(splits.split_by_values, **OmegaConf.create({"test": {"site": ["4"]}}))  # pyright: ignore
    splits.write_split(tmp_path / "split.csv", made(index), "own", made)
    settings = json.loads((tmp_path / "split.csv").read_text().splitlines()[3].removeprefix("# settings: "))
    assert settings["test"] == {"site": ["4"]}


def test_a_split_inside_wells_is_kept_by_field_or_image(index: pl.DataFrame, tmp_path: Path):
    for split, key in (
        (splits.split_by_values(index, test={"site": ["4"]}), "plate,well,site,split"),
        (splits.split_by_values(index.with_columns(site=pl.lit("1")), test={"image_id": ["b1-0-0"]}), "image_id,split"),
    ):
        splits.write_split(tmp_path / "split.csv", split, "own", None)
        assert (tmp_path / "split.csv").read_text().splitlines()[4] == key
        assert splits.split_from_file(split.drop("split"), path=tmp_path / "split.csv").equals(
            split.select(pl.exclude("split"), "split")
        )


def test_a_split_file_of_another_screen_is_refused(index: pl.DataFrame, tmp_path: Path):
    path = tmp_path / "split.csv"
    splits.write_split(path, splits.split_by_well(index), "own", splits.split_by_well)
    part = index.filter(pl.col("well") > "A06").with_columns(plate=pl.col("plate").replace("b1P1", "p1"))
    with pytest.raises(
        InvalidIndex,
        match=r"it lacks 5 well\(s\) .*p1 A07, .*p1 A11\) and names 17 well\(s\) .*\(b1P1 A01, .*b1P1 A05, …\)",
    ):
        splits.split_from_file(part, path=path)
    text = path.read_text()
    for wrong, message in (
        (text.replace("version 1", "version 9"), "no split file of this version"),
        (text.rsplit("\n", 4)[0] + "\n", "was cut or edited"),
        (text.replace(",train", ",trian"), r"names split\(s\) \['trian'\]"),
        (text.replace("plate,well,split", "plate,wells,split"), "needs the columns plate, well"),
    ):
        path.write_text(wrong)
        with pytest.raises(InvalidIndex, match=message):
            splits.split_from_file(index, path=path)
    with pytest.raises(FileNotFoundError, match="there is no split file"):
        splits.split_from_file(index, path=tmp_path / "nowhere.csv")
