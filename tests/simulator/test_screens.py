"""Simulated screens as dataset folders: the same bytes for the same seed, every treatment on every plate and side."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.simulator.wells import small
from virtassay.data.dataset import Dataset, open_dataset
from virtassay.simulator import AXES, simulate
from virtassay.simulator.render import CHANNELS


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(small(root=tmp_path_factory.mktemp("simulated") / "screen", seed=3))


def checksums(root: Path) -> list[str]:
    stored = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
    return [entry["sha256"] for entry in (stored["index"], *stored["shards"])]


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_workers(tmp_path: Path, screen: Dataset):
    assert checksums(small(root=tmp_path / "again", seed=3, workers=1)) == checksums(screen.root)
    assert checksums(small(root=tmp_path / "other", seed=4)) != checksums(screen.root)


def test_controls_and_every_treatment_on_every_plate(screen: Dataset):
    treatments = set(screen.index["treatment"])
    assert len(treatments) == 1 + 2 * 2 + 1 + 1
    for _, plate in screen.index.group_by("plate"):
        assert plate["is_control"].any() and set(plate["treatment"]) == treatments
    assert screen.info.channels == CHANNELS[:3] and screen.info.image_shape == (3, 24, 24)


def test_each_stratum_has_wells_on_every_side(screen: Dataset):
    sides = screen.index.group_by("batch", "treatment").agg(pl.col("split").unique())
    assert all(set(split) == {"train", "val", "test"} for split in sides["split"])
    assert (screen.index.group_by("plate", "well").agg(pl.col("split").n_unique())["split"] == 1).all()


def test_kinds_of_perturbation_are_told_apart(screen: Dataset):
    kinds = {kind: part for (kind,), part in screen.index.group_by("perturbation_type")}
    assert set(kinds) == {"none", "compound", "crispr"}
    gene = kinds["crispr"].row(0, named=True)
    assert gene["gene"] == gene["perturbation"] and gene["smiles"] == [None] and gene["dose_um"] == [None]
    double = kinds["compound"].filter(pl.col("perturbation").list.len() == 2).row(0, named=True)
    assert len(double["smiles"]) == len(double["dose_um"]) == 2 and " + " in double["treatment"]
    control = kinds["none"].row(0, named=True)
    assert control["perturbation"] == ["DMSO"] and control["dose_um"] == [None] and control["treatment"] == "DMSO"


def test_the_truth_of_each_cell_is_in_the_index(screen: Dataset):
    index = screen.index
    names = {f"truth_effect_{axis}" for axis in AXES}
    assert names | {"truth_cycle", "truth_rare", "truth_response", "truth_ec50_um"} <= set(index.columns)
    control = index.filter("is_control")
    assert control.select(pl.sum_horizontal(pl.col(sorted(names)).abs()).max()).item() == 0
    single = index.filter((pl.col("perturbation_type") == "compound") & (pl.col("perturbation").list.len() == 1))
    assert single["truth_ec50_um"].null_count() == 0 and single["truth_response"].is_between(0, 1, closed="none").all()


def test_pictures_are_written(screen: Dataset):
    assert all((screen.root / name).stat().st_size > 1000 for name in ("contact_sheet.png", "plate_layout.png"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": 9}, "channels=9.*DNA"),
        ({"size": 4}, "size=4"),
        ({"n_compounds": 0}, "n_compounds=0"),
        ({"knock_outs": 99}, "knock_outs=99"),
        ({"combinations": 99}, "combinations=99"),
        ({"dilution": 1.0}, "dilution=1.0"),
        ({"control_wells": 0}, "control_wells=0"),
        ({"toxicity": -0.1}, "toxicity=-0.1"),
        ({"toxicity": 1.5}, "toxicity=1.5"),
        ({"batch_effect": -1.0}, "batch_effect=-1.0"),
        ({"wells_per_treatment": 500}, "do not fit a plate"),
    ],
)
def test_what_cannot_be_simulated_is_said_and_nothing_is_left(tmp_path: Path, wrong: dict[str, Any], message: str):
    arguments: dict[str, Any] = {"root": tmp_path / "screen", "n_compounds": 4, "combinations": 1} | wrong
    with pytest.raises(ValueError, match=message):
        simulate(**arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept(screen: Dataset):
    with pytest.raises(FileExistsError, match="overwrite"):
        small(root=screen.root)
