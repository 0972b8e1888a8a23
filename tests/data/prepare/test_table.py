"""Anybody's table becomes an index, or is explained."""

import errno
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tests.data.prepare.own_screen import (
    N,
    pixels,
    refused,
    stack_npz,
)
from virtassay.data.dataset.store import open_dataset
from virtassay.data.prepare import FilePerChannel, Percentile, prepare_table
from virtassay.data.prepare.splits import split_by_well


def test_the_shared_bbbc021_crops_as_configured(shared_data: Path, repo: Path, tmp_path: Path):
    config = OmegaConf.create(
        {
            "paths": {"data": str(shared_data / "bbbc021"), "datasets": str(tmp_path)},
            "data": OmegaConf.load(repo / "conf" / "data" / "bbbc021_crops.yaml"),
        }
    )
    dataset = open_dataset(instantiate(config.data.prepare))
    assert len(dataset) == 4598 and dataset.info.image_shape == (3, 48, 48)
    seen = {"DMSO", "cyclohexamide 5 µM", "cyclohexamide 15 µM", "cyclohexamide 50 µM", "taxol 0.3 µM"}
    for split in ("train", "test"):
        assert set(dataset.split(split).index["treatment"]) == seen
    assert set(dataset.split("test").index["plate"]) == {"Week4_27861", "Week4_27542"}
    wells = dataset.index.group_by("plate", "well").agg(pl.col("split").unique())
    assert not wells.filter(pl.col("split").list.contains("test") & (pl.col("split").list.len() > 1)).height
    saturated = (dataset.where(~pl.col("is_control")).images() == 255).mean((0, 2, 3))
    assert (saturated < 0.005).all()


def test_a_real_plate_of_whole_fields(shared_data: Path, tmp_path: Path):
    plate = shared_data / "sbs_plate"
    table = pl.read_csv(plate / "plate_map.csv").with_columns(
        number=pl.int_range(1, 97).cast(pl.String).str.zfill(2), well=pl.format("{}{}", "Row", "Column")
    )
    compound = pl.when(pl.col("SBS_Doses") == 0).then(pl.lit("none")).otherwise(pl.lit("A"))
    second = pl.col("Row").is_in(list("EFGH")) & (pl.col("SBS_Doses") > 0)
    table = table.with_columns(compound=pl.when(second).then(pl.lit("B")).otherwise(compound))
    root = prepare_table(
        root=tmp_path / "sbs",
        table=table,
        columns={"perturbation": "compound", "dose_um": "SBS_Doses"},
        constants={"plate": "sbs", "batch": "sbs"},
        controls=["none"],
        keep={"Column": [1, 2, 3, 8]},
        images=FilePerChannel(
            str(plate / "images"), "{channel}-{number}-{Row}-{Column:02d}.tif", ["Channel1", "Channel2"]
        ),
        channels=("GFP", "DNA"),
        size=64,
        scaling=Percentile(),
        split=partial(split_by_well, val=0.0),
    )
    dataset = open_dataset(root)
    assert len(dataset) == 32 and dataset.info.image_shape == (2, 64, 64)
    assert json.loads((root / "dataset.json").read_text())["scaling"]["kind"] == "Percentile"


def test_a_disk_that_is_too_small(prepare: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    prepare()
    before = json.loads((tmp_path / "out" / "dataset.json").read_text())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=N * 3 * 12 * 12 - 1))
    with pytest.raises(OSError, match=r"a dataset of 24 images needs [\d.]+ kB .*has [\d.]+ kB free") as caught:
        prepare(overwrite=True)
    assert caught.value.errno == errno.ENOSPC
    assert json.loads((tmp_path / "out" / "dataset.json").read_text()) == before
    source = stack_npz(tmp_path, pixels())
    refused(prepare, OSError, "unpacking .*a.npz needs", images=source, overwrite=True)
