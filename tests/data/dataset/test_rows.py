"""The rows of an index: taken apart and put together again, they are the table that they were."""

import json
from pathlib import Path
from unittest.mock import PropertyMock

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.data.loading.test_datamodule import Trainer
from tests.toy_screen import write_screen
from virtassay.data.dataset import rows as of_rows
from virtassay.data.dataset.rows import Rows
from virtassay.data.dataset.store import open_dataset
from virtassay.data.loading.datamodule import AssayData
from virtassay.data.molecules.descriptors import Morgan
from virtassay.flow.source import Control
from virtassay.schema import InvalidIndex, treatment, validate

N = 60


def table(shuffled: bool, combined: bool) -> pl.DataFrame:
    """Twelve wells of five images; the second perturbation of every third is given only if `combined`."""
    well = np.arange(N) // 5
    if shuffled:
        well = np.random.default_rng(0).permutation(well)
    made = validate(
        pl.DataFrame({
            "image_id": [f"i{i}" for i in range(N)], "plate": [f"p{w // 6}" for w in well],
            "well": [f"A{w % 6}" for w in well], "batch": [f"b{w // 6}" for w in well],
            "perturbation": [["taxol", "aspirin"] if combined and w % 3 == 0 else ["taxol"] for w in well],
            "is_control": well % 6 == 5, "moa": [None if w % 2 else "tubulin" for w in well],
            "dose_um": [[1.0, None] if combined and w % 3 == 0 else [0.1 * w] for w in well],
            "x_px": np.arange(N) / 7, "colour": [f"c{i % 4}" for i in range(N)], "split": ["train", "val"] * (N // 2),
        })
    )  # fmt: skip
    return made.with_columns(treatment(made))


TABLES = [table(shuffled, combined) for shuffled in (False, True) for combined in (False, True)]


@pytest.mark.parametrize("given", TABLES)
def test_a_table_comes_back(given: pl.DataFrame):
    rows = Rows.of(given)
    assert_frame_equal(rows.table, given)
    assert len(rows) == N and rows.shared.height == 24, "twelve wells, each with images of two splits"
    assert rows.shared.is_duplicated().sum() == 0 and rows.counts.sum() == N
    assert set(rows.own.columns) == {"image_id", "x_px", "colour"}
    assert_frame_equal(rows.select("colour", "plate"), given.select("colour", "plate"))


@pytest.mark.parametrize("given", TABLES)
@pytest.mark.parametrize(
    "mask",
    [
        pl.col("split") == "val",
        pl.col("colour") == "c1",
        (pl.col("plate") == "p1") & (pl.col("x_px") > 5) | pl.col("is_control"),
        pl.int_range(pl.len()).over("batch", "treatment") < 2,  # which no well alone could tell
        pl.col("perturbation").list.contains("aspirin"),
        pl.lit(False),
        pl.Series(np.arange(N) % 7 == 0),
    ],
)
def test_rows_are_kept_as_a_table_keeps_them(given: pl.DataFrame, mask: pl.Expr | pl.Series):
    kept = Rows.of(given).where(mask)
    assert_frame_equal(kept.table, given.filter(mask))
    assert kept.shared.height == len(set(kept.number.tolist())), "what no image has any more is gone"


@pytest.mark.parametrize("given", TABLES)
def test_rows_are_taken_in_the_order_given(given: pl.DataFrame):
    some = np.array([40, 3, 3, 59])
    assert_frame_equal(Rows.of(given).take(some).table, given[some])


def test_joined_rows_stand_below_each_other():
    first, second = TABLES[1], TABLES[2].drop("moa")
    assert_frame_equal(Rows.joined([Rows.of(first), Rows.of(second)]).table, pl.concat([first, second], how="diagonal"))


@pytest.mark.parametrize("given", TABLES)
@pytest.mark.parametrize("block", [1, 7, N, 1000])
def test_blocks_make_no_difference(given: pl.DataFrame, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(of_rows, "BLOCK", block)
    given.drop("treatment").write_parquet(tmp_path / "index.parquet")
    for file in (tmp_path / "index.parquet", (tmp_path / "index.parquet").read_bytes()):
        read = Rows.read(file, "x")
        assert_frame_equal(read.table, given)
        assert read.shared.height == 24


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pl.lit(None, pl.String).alias("image_id"), "'image_id' is empty at row 37"),
        (pl.lit(None, pl.String).alias("plate"), "'plate' is empty at row 37"),
        (pl.lit("tset").alias("split"), r"'split' is unknown at row 37 \('tset'\)"),
    ],
)
def test_what_is_wrong_is_told_of_the_tables_rows(column: pl.Expr, said: str, tmp_path: Path):
    here = pl.int_range(pl.len()) == 37
    name = column.meta.output_name()
    TABLES[0].with_columns(pl.when(here).then(column).otherwise(name).alias(name)).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(InvalidIndex, match=f"my index: column {said}"):
        Rows.read(tmp_path / "x.parquet", "my index")


@pytest.mark.parametrize("columns", [["image_id"], ["plate", "well"], []])
def test_a_table_that_is_no_index_is_refused(columns: list[str], tmp_path: Path):
    TABLES[0].select(columns or "colour").write_parquet(tmp_path / "x.parquet")
    with pytest.raises(InvalidIndex, match="are missing"):
        Rows.read(tmp_path / "x.parquet", "x")
    TABLES[0].clear().write_parquet(tmp_path / "none.parquet")
    with pytest.raises(InvalidIndex, match="empty"):
        Rows.read(tmp_path / "none.parquet", "x")


def test_training_never_makes_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = write_screen(tmp_path / "screen", images_per_well=4)
    told = json.loads((folder / "dataset.json").read_text())
    monkeypatch.setattr(Rows, "table", PropertyMock(side_effect=AssertionError("the whole table")))
    with pytest.raises(AssertionError, match="the whole table"):
        assert open_dataset(folder).index.height == told["n_images"]
    data = AssayData(
        folder=folder, minibatch_size=8, images_total=80, molecules=Morgan(size=64), source=Control(), control_set=2,
        balance=0.5,
    )  # fmt: skip
    data.trainer = Trainer()  # pyright: ignore[reportAttributeAccessIssue]
    minibatch = data.train_dataloader().dataset[3]
    assert minibatch.control is not None and len(data.image_ids(minibatch.row)) == 8
