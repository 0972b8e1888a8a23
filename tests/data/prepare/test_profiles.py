"""A table of profiles → a dataset folder: which columns are features, their units, and everything that is refused."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.toy_profiles import COLUMNS, FEATURES, profiles
from virtassay.data.dataset.store import Dataset, open_dataset
from virtassay.data.prepare.profiles import choose_features, prepare_profiles
from virtassay.data.prepare.splits import split_by_values, split_by_well
from virtassay.schema import InvalidIndex

Prepare = Callable[..., Dataset]


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Prepare the toy profiles into tmp_path/out; keyword arguments override. Pictures are drawn in one test only."""
    for name in ("plate_layout", "treatment_sheet"):
        monkeypatch.setattr(f"virtassay.data.prepare.table.{name}", lambda *_, **__: None)

    def run(table: Any = None, **changes: Any) -> Dataset:
        settings = {
            "root": tmp_path / "out", "table": profiles() if table is None else table, "columns": COLUMNS,
            "features": ["Cells_*", "Nuclei_*"], "controls": ["DMSO"], "split": partial(split_by_well, test=0.5),
        }  # fmt: skip
        return open_dataset(prepare_profiles(**(settings | changes)))

    return run


def vectors(dataset: Dataset) -> np.ndarray:
    return dataset.images()[:, :, 0, 0]


@pytest.mark.parametrize("kind", ["parquet", "csv", "memory"])
def test_features_become_channels_and_the_rest_the_index(prepare: Prepare, tmp_path: Path, kind: str):
    table: Any = profiles()
    if kind != "memory":
        path = tmp_path / f"profiles.{kind}"
        table.write_parquet(path) if kind == "parquet" else table.write_csv(path)
        table = path
    dataset = prepare(table, in_control_units=False)
    assert dataset.info.channels == FEATURES and dataset.info.image_shape == (len(FEATURES), 1, 1)
    assert dataset.info.dtype == "float32" and dataset.info.scaling is None
    np.testing.assert_allclose(vectors(dataset), profiles().select(FEATURES).to_numpy(), rtol=1e-6)
    assert dataset.index["plate"].unique().sort().to_list() == ["000", "001"]  # as written
    assert dataset.index["treatment"].unique().sort().to_list() == ["ALLN 3 µM", "DMSO", "emetine 3 µM", "taxol 3 µM"]
    assert "Metadata_Count" in dataset.index.columns and not set(FEATURES) & set(dataset.index.columns)
    assert dataset.index["is_control"].sum() == 16
    assert ("sha256" in (dataset.info.provenance or {})) == (kind != "memory")


def test_control_units_are_those_of_the_training_controls(prepare: Prepare):
    dataset = prepare()
    train = dataset.split("train")
    controls = vectors(train.where(pl.col("is_control"))).astype(float)
    np.testing.assert_allclose(controls.mean(0), 0, atol=1e-5)
    half = 0.5 * vectors(train).std(0)
    np.testing.assert_allclose(np.maximum(controls.std(0), half), 1, rtol=1e-4)
    assert (half < 0.99).any() and (controls.std(0) < 0.99).any()  # each of the two decides for some feature
    scaling = dataset.info.scaling
    assert scaling is not None and scaling["kind"] == "control_units"
    np.testing.assert_allclose(
        vectors(dataset) * scaling["spread"] + scaling["mean"], profiles().select(FEATURES).to_numpy(), rtol=1e-4
    )


def test_rows_that_are_kept_carry_their_own_features(prepare: Prepare):
    dataset = prepare(keep={"Metadata_compound": ["DMSO", "emetine"]}, in_control_units=False)
    kept = profiles().filter(pl.col("Metadata_compound").is_in(["DMSO", "emetine"]))
    np.testing.assert_allclose(vectors(dataset), kept.select(FEATURES).to_numpy(), rtol=1e-6)


def test_a_split_of_the_table_is_used_by_name(prepare: Prepare):
    table = profiles().with_columns(mine=pl.Series(["train", "test", "val", "train"] * 16))
    split = partial(split_by_values, test={"mine": ["test"]}, val={"mine": ["val"]})
    dataset = prepare(table, split=split)
    assert dataset.index["split"].to_list() == table["mine"].to_list()


USED = {"Metadata_Plate", "dose_um"}


@pytest.mark.parametrize(
    ("wanted", "leave_out", "chosen"),
    [
        (["Nuclei_Area", "Cells_*"], [], ["Cells_Area", "Cells_Location_X", "Nuclei_Area"]),  # the table's order
        (["*"], ["*_Location_*"], ["Cells_Area", "Nuclei_Area", "gene[1]"]),
        (["gene[1]", "Cells_*"], ["Cells_*"], ["gene[1]"]),  # a name with brackets is a name too
    ],
)
def test_features_are_chosen_by_name_and_pattern(wanted: list[str], leave_out: list[str], chosen: list[str]):
    there = ["Metadata_Plate", "Cells_Area", "Cells_Location_X", "dose_um", "Nuclei_Area", "gene[1]"]
    assert choose_features(there, wanted, leave_out, USED, "t") == chosen


@pytest.mark.parametrize(
    ("wanted", "leave_out", "message"),
    [
        (["Cell_*"], [], r"named like 'Cell_\*'; there are \['Cells_Area', 'Cells_Area_duplicated_0', 'x'\]"),
        (["Metadata_Plate"], [], "no column that could be a feature is named like 'Metadata_Plate'"),
        (["x"], ["nothing"], "named like 'nothing'"),
        (["x"], ["*"], "leaves no feature"),
        (["Cells_*"], [], r"column\(s\) \['Cells_Area'\] stand twice"),
    ],
)
def test_features_that_are_not_there_or_stand_twice_are_named(wanted: list[str], leave_out: list[str], message: str):
    there = ["Metadata_Plate", "Cells_Area", "Cells_Area_duplicated_0", "x"]
    with pytest.raises(InvalidIndex, match=message):
        choose_features(there, wanted, leave_out, USED, "t")


def test_a_csv_with_a_column_twice_is_refused(prepare: Prepare, tmp_path: Path):
    text = profiles().write_csv().replace("Cells_Shape_1,", "Cells_Shape_0,", 1)
    (tmp_path / "twice.csv").write_text(text)
    with pytest.raises(InvalidIndex, match=r"\['Cells_Shape_0'\] stand twice"):
        prepare(tmp_path / "twice.csv")


def spoilt(value: Any, rows: list[int], feature: str = FEATURES[1]) -> pl.DataFrame:
    here = pl.int_range(pl.len()).is_in(rows)
    return profiles().with_columns(pl.when(here).then(pl.lit(value, pl.Float64)).otherwise(feature).alias(feature))


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), 1e300])
def test_missing_and_infinite_values_are_named_with_their_rows(prepare: Prepare, value: float | None):
    with pytest.raises(InvalidIndex, match=r"2 of 64 rows .*row-9: Cells_Shape_1 is (nan|inf).*Cells_Shape_1 \(2 rows"):
        prepare(spoilt(value, [9, 12]))


def test_rows_that_are_not_finite_can_be_skipped_and_are_listed(prepare: Prepare, tmp_path: Path):
    dataset = prepare(spoilt(None, [9, 12]), on_error="skip", in_control_units=False)
    assert len(dataset) == 62
    assert not {"row-9", "row-12"} & set(dataset.index["image_id"])
    kept = profiles().with_row_index().filter(~pl.col("index").is_in([9, 12]))
    np.testing.assert_allclose(vectors(dataset), kept.select(FEATURES).to_numpy(), rtol=1e-6)
    listed = pl.read_csv(tmp_path / "out" / "skipped.csv")
    assert listed.rows() == [("row-9", "Cells_Shape_1 is nan"), ("row-12", "Cells_Shape_1 is nan")]


def test_skipping_may_not_take_every_row_or_the_controls_of_a_batch(prepare: Prepare, tmp_path: Path):
    with pytest.raises(InvalidIndex, match="64 of 64 rows"):
        prepare(spoilt(None, list(range(64))), on_error="skip")
    with pytest.raises(InvalidIndex, match=r"8 rows were left out.*no control images in batch\(es\) \['week0'\]"):
        prepare(spoilt(None, list(range(8))), on_error="skip")
    assert not (tmp_path / "out").exists()


def test_a_feature_of_text_is_named_with_its_rows(prepare: Prepare, tmp_path: Path):
    table = profiles().with_columns(pl.col(FEATURES[0]).cast(pl.String))
    assert len(prepare(table)) == 64  # numbers written as text are numbers
    path = tmp_path / "text.csv"
    here = pl.int_range(pl.len()) == 3
    table.with_columns(pl.when(here).then(pl.lit("#DIV/0!")).otherwise(FEATURES[0]).alias(FEATURES[0])).write_csv(path)
    with pytest.raises(InvalidIndex, match=r"feature 'Cells_Shape_0' holds String .* row 3 \('#DIV/0!'\)"):
        prepare(path)
    flags = profiles().with_columns(pl.lit([1.0, 2.0]).alias(FEATURES[2]))
    with pytest.raises(InvalidIndex, match="feature 'Cells_Shape_2' holds List"):
        prepare(flags)


def test_constant_features_are_refused_or_dropped(prepare: Prepare):
    table = profiles().with_columns(Cells_Flat=pl.lit(0.1), Nuclei_Flat=pl.lit(7))
    with pytest.raises(InvalidIndex, match=r"2 of 14 features are constant .*\['Cells_Flat', 'Nuclei_Flat'\]"):
        prepare(table)
    dataset = prepare(table, on_constant="drop")
    assert dataset.info.channels == FEATURES
    assert (dataset.info.provenance or {})["constant"] == ["Cells_Flat", "Nuclei_Flat"]
    with pytest.raises(InvalidIndex, match="1 of 1 features are constant"):
        prepare(table, features=["Cells_Flat"], on_constant="drop")


def test_what_is_constant_in_training_alone_is_constant(prepare: Prepare):
    split = partial(split_by_values, test={"Metadata_batch_name": ["week1"]}, val={"Metadata_Count_name": ["v"]})
    table = profiles().with_columns(
        Metadata_batch_name=pl.col("Metadata_batch"),
        Metadata_Count_name=pl.when(pl.int_range(pl.len()) % 8 == 1).then(pl.lit("v")).otherwise(pl.lit("t")),
        Cells_Late=(pl.col("Metadata_batch") == "week1").cast(pl.Float64),
    )
    with pytest.raises(InvalidIndex, match=r"constant in the training split: \['Cells_Late'\]"):
        prepare(table, split=split)


def test_outliers_of_a_bad_normalisation_are_warned_of(prepare: Prepare, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        prepare()
        assert not caplog.messages
        prepare(spoilt(1e12, [20]), overwrite=True)
    assert "1 features have values over 1000 interquartile ranges" in caplog.text and FEATURES[1] in caplog.text


@pytest.mark.parametrize(("option", "value"), [("on_error", "ignore"), ("on_constant", "skip")])
def test_options_that_are_none_are_refused(prepare: Prepare, option: str, value: str):
    with pytest.raises(ValueError, match=f"{option}='{value}': give raise or"):
        prepare(**{option: value})


def test_a_folder_gets_its_pictures(tmp_path: Path):
    prepare_profiles(
        root=tmp_path / "out", table=profiles(), columns=COLUMNS, features=["*_Shape_*"], controls=["DMSO"],
        split=split_by_well,
    )  # fmt: skip
    assert {"contact_sheet.png", "plate_layout.png"} <= {path.name for path in (tmp_path / "out").iterdir()}
