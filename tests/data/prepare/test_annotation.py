"""Anybody's table becomes an index, or is explained."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.data.prepare.own_screen import (
    COLUMNS,
    N,
    first,
    pixels,
    refused,
    screen,
)
from virtassay.data.molecules.descriptors import InvalidSmiles
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


@pytest.mark.parametrize(
    ("plates", "match"),
    [
        (["P1", "p1"], "'P1' = 'p1'"),
        (["P1", "P01"], "'P01' = 'P1'"),
        (["week2_1", "Week02_001"], "'Week02_001' = 'week2_1'"),
    ],
)
def test_plates_spelt_in_two_ways(prepare: Callable, plates: list[str], match: str):
    table = screen().with_columns(plate=pl.col("plate").replace(["000", "001"], plates))
    refused(
        prepare, InvalidIndex, rf"1 plate name\(s\) are spelt in several ways, by case or zeros: {match}", table=table
    )


@pytest.mark.parametrize("plates", [["P1", "P10"], ["P1", "P2"], ["100", "10"], ["0", "00A"]])
def test_plates_that_only_look_alike_pass(prepare: Callable, plates: list[str]):
    assert len(prepare(table=screen().with_columns(plate=pl.col("plate").replace(["000", "001"], plates)))) == N


def test_wells_spelt_in_two_ways(prepare: Callable):
    table = screen().with_columns(Well=pl.when(pl.col("file") == "crop1").then(pl.lit("a1")).otherwise("Well"))
    refused(prepare, InvalidIndex, r"1 well name\(s\) are spelt .*: 000 'A01' = 'a1'", table=table)


def test_pixel_sizes_in_the_table(prepare: Callable):
    one = screen().with_columns(pixel_size_um=pl.lit(0.325))
    assert prepare(table=one, crop=6).info.pixel_size_um == pytest.approx(0.325)
    mixed = one.with_columns(pixel_size_um=pl.when(pl.col("plate") == "001").then(0.65).otherwise("pixel_size_um"))
    refused(
        prepare, InvalidIndex, r"differs from 0.325 at row 12 \(0.65\), .* 12 rows in all", table=mixed, overwrite=True
    )
    refused(prepare, InvalidIndex, r"differs from 0.65 at row 0", table=one, pixel_size_um=0.65, overwrite=True)


def test_a_plate_without_controls(prepare: Callable, caplog: pytest.LogCaptureFixture):
    alone = (pl.col("plate") == "001") & (pl.col("compound") == "DMSO")
    table = screen().with_columns(compound=pl.when(alone).then(pl.lit("taxol")).otherwise("compound"))
    with caplog.at_level(logging.WARNING):
        assert len(prepare(table=table)) == N
    assert "no control images on 1 plate(s): 001. Their wells are held against their batch's other" in caplog.text
    columns = {"perturbation": "compound", "dose_um": "conc", "well": "Well", "batch": "plate"}
    refused(
        prepare,
        InvalidIndex,
        r"no control images in batch\(es\) \['001'\]",
        table=table,
        columns=columns,
        overwrite=True,
    )
