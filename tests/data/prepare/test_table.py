"""Anybody's table becomes an index, or is explained."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tests.data.prepare.own_screen import (
    COLUMNS,
    N,
    first,
    pixels,
    screen,
)
from virtassay.data.dataset.store import open_dataset
from virtassay.data.molecules.descriptors import InvalidSmiles
from virtassay.data.prepare import FilePerChannel, Percentile, prepare_table
from virtassay.data.prepare.splits import split_by_well
from virtassay.schema import InvalidIndex


def test_the_table_becomes_an_index(prepare: Callable):
    index = prepare().index
    assert index["plate"].unique().sort().to_list() == ["000", "001"]  # text stays text
    assert index["image_id"].to_list() == [f"row-{i}" for i in range(N)]
    assert index["treatment"].unique().sort().to_list() == ["DMSO", "taxol 0.3 µM", "taxol 3 µM"]
    controls = index.filter("is_control")
    assert controls["perturbation"].to_list() == [["DMSO"]] * 6
    assert controls["dose_um"].to_list() == [[None]] * 6 and controls["smiles"].to_list() == [[None]] * 6
    assert index["file"].to_list() == screen()["file"].to_list()  # further columns are kept
    assert index["split"].unique().sort().to_list() == ["test", "train", "val"]


def test_constants_keep_patterns_and_reserved_names(prepare: Callable):
    table = screen().with_columns(treatment=pl.lit("x"), good=pl.Series([True] * 16 + [False] * 8))
    dataset = prepare(
        table=table,
        columns=COLUMNS | {"image_id": "{plate}-{Well}", "plate": "{week}_{plate}"},
        constants={"cell_type": "MCF7", "split": "train"},
        keep={"good": [True], "plate": ["000", "001"], "conc": [0, 3]},
        split=None,
    )
    kept = table.filter(pl.col("good") & pl.col("conc").is_in([0.0, 3.0]))
    np.testing.assert_array_equal(
        dataset.images(), first(pixels())[table.with_row_index().join(kept, on="file", how="semi")["index"].to_numpy()]
    )
    assert dataset.index["image_id"][0] == "000-A01" and dataset.index["plate"][0] == "w1_000"
    assert dataset.index["cell_type"].unique().to_list() == ["MCF7"]
    assert dataset.index["treatment_raw"].unique().to_list() == ["x"]


def test_combinations_are_separated(prepare: Callable):
    both = pl.col("conc") == 3
    table = screen().with_columns(
        compound=pl.when(both).then(pl.lit("taxol + ALLN")).otherwise("compound"),
        conc=pl.when(both).then(pl.lit("3 + 1")).otherwise(pl.col("conc").cast(pl.String)),
        smiles=pl.when(both).then(pl.lit("CCO + CC")).otherwise("smiles"),
    )
    index = prepare(table=table, separator="+").index
    assert index["treatment"].unique().sort().to_list() == ["ALLN 1 µM + taxol 3 µM", "DMSO", "taxol 0.3 µM"]
    with pytest.raises(InvalidIndex, match=r"'dose_um' holds text at row 2 \(\"3 \+ much\"|'3 \+ much'\)"):
        prepare(table=table.with_columns(pl.col("conc").str.replace("1", "much")), separator="+", overwrite=True)


@pytest.mark.parametrize("dtype", [pl.Int32, pl.Categorical])
def test_perturbations_may_be_numbers_or_categories_in_a_parquet(prepare: Callable, tmp_path: Path, dtype: type):
    names = pl.when(pl.col("compound") == "DMSO").then(pl.lit("1138")).otherwise(pl.lit("7"))
    screen().with_columns(compound=names.cast(dtype)).write_parquet(tmp_path / "a.parquet")
    index = prepare(table=tmp_path / "a.parquet", controls=[1138]).index
    assert set(index["perturbation"].list.first()) == {"1138", "7"}
    assert index["is_control"].to_list() == (screen()["compound"] == "DMSO").to_list()


def test_parquet_and_tsv_are_read_too(prepare: Callable, tmp_path: Path):
    screen().write_parquet(tmp_path / "screen.parquet")
    screen().write_csv(tmp_path / "screen.tsv", separator="\t")
    one, two = (prepare(table=tmp_path / name, overwrite=True).index for name in ("screen.parquet", "screen.tsv"))
    assert one.equals(two)


def with_row(row: int, **values: Any) -> pl.DataFrame:
    table = screen().with_row_index("_n")
    changed = [pl.when(pl.col("_n") == row).then(pl.lit(v)).otherwise(pl.col(k)).alias(k) for k, v in values.items()]
    return table.with_columns(changed).drop("_n")


WRONG_TABLES = {
    "empty": (screen().head(0), {}, "the table is empty"),
    "no such column": (screen(), {"columns": COLUMNS | {"moa": "MOA"}}, r"\['MOA'\] are not in the table, which has"),
    "no such index column": (screen(), {"columns": {"drug": "compound"}}, r"\['drug'\] are no columns of the index"),
    "missing column": (screen().drop("plate"), {}, r"nothing is given for \['plate'\]; the table has \['Well'"),
    "no drug": (screen(), {"columns": {"well": "Well", "batch": "week"}}, r"for \['perturbation', 'is_c"),
    "dose as text": (with_row(5, conc="0.3 uM"), {}, r"where numbers are expected: row 5 \('0.3 uM'\)\."),
    "negative dose": (with_row(5, conc=-1.0), {}, r"'dose_um' is negative or not finite at row 5"),
    "same image_id": (screen(), {"columns": COLUMNS | {"image_id": "week"}}, "'image_id' repeats at row 0"),
    "no such control": (screen(), {"controls": ["DMSO", "dmso"]}, r"controls names \['dmso'\], .* there are \['DMSO'"),
    "empty well": (with_row(7, Well=""), {}, "'well' is empty at row 7"),
    "no controls": (with_row(7, week="w9", plate="007"), {}, r"no control images in batch\(es\) \['w9'\]"),
    "well in two batches": (with_row(3, plate="001", week="w2"), {}, "more than one batch .*make them unique"),
    "well of two treatments": (with_row(1, Well="A01"), {}, r"more than one treatment \(000 A01"),
    "keep nothing": (screen(), {"keep": {"plate": ["000"], "week": ["w2"]}}, r"keep names \['w2'\], not in column"),
    "keep in no column": (screen(), {"keep": {"Plate": ["000"]}}, r"\['Plate'\], not in the table"),
    "keep words in numbers": (screen(), {"keep": {"conc": ["high"]}}, "keep names .*, which holds Float"),
    "unknown split": (screen(), {"constants": {"split": "trian"}, "split": None}, "'split' is unknown at row 0"),
    "no split": (screen(), {"split": None}, "without a split function"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_TABLES)
def test_a_wrong_table_is_explained_and_nothing_is_written(prepare: Callable, tmp_path: Path, case: str):
    table, changes, message = WRONG_TABLES[case]
    with pytest.raises(InvalidIndex, match=message) as caught:
        prepare(table=table, **changes)
    assert "screen.csv" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_smiles_that_is_none_is_named_with_its_row(prepare: Callable, capfd: pytest.CaptureFixture[str]):
    with pytest.raises(InvalidSmiles, match=r"screen.csv: 1 SMILES cannot be parsed \(row 6: 'C1CC'\)"):
        prepare(table=with_row(6, smiles="C1CC"))
    assert "SMILES Parse" not in capfd.readouterr().err


def test_a_table_that_is_no_table(prepare: Callable, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"there is no table .*nowhere.csv"):
        prepare(table=tmp_path / "nowhere.csv")
    (tmp_path / "bad.parquet").write_text("not a parquet")
    (tmp_path / "bad.csv").write_text("")
    for name in ("bad.parquet", "bad.csv"):
        with pytest.raises(InvalidIndex, match=f"{name} cannot be read as a table"):
            prepare(table=tmp_path / name)


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
