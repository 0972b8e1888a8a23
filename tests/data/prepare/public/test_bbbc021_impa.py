"""BBBC021 in IMPA's drop: real and random crops in its layout, wells, SMILES and what is missing."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from skimage.transform import resize

from tests.data.prepare.public.official import opened
from virtassay.data.dataset.store import open_dataset
from virtassay.data.prepare.public import BBBC021Impa, prepare_public, split_published
from virtassay.data.prepare.public.bbbc021_impa import IMPA_COLUMNS
from virtassay.data.prepare.sources import UnreadableImage
from virtassay.schema import InvalidIndex

SHARED = ("wells", "fields", "control_wells")  # what a split of images, as the drop has one, shares


def prepare(*, compounds: Path | None = None, fields: Path | None = None, **changes: Any) -> Path | None:
    settings = {"scaling": None, "split": split_published}
    return prepare_public(BBBC021Impa(compounds, fields), **(settings | changes))


def drop_of_impa(folder: Path, crops: Path, n: int = 60) -> pl.DataFrame:
    """Write some of the shared crops the way IMPA's drop holds them."""
    table = pl.read_csv(crops / "crops.csv", infer_schema_length=None)
    table = table.filter(pl.col("plate").str.starts_with("Week4_27801") & pl.col("compound").is_in(["DMSO", "taxol"]))
    table = pl.concat([table.filter(pl.col("compound") == "taxol"), table.filter(pl.col("compound") == "DMSO").head(n)])
    fields = pl.read_csv(crops / "BBBC021_v1_image.csv").select(
        "TableNumber", "ImageNumber", plate="Image_Metadata_Plate_DAPI", well="Image_Metadata_Well_DAPI"
    )
    fields = fields.unique(["plate", "well"], keep="first", maintain_order=True)
    table = table.join(fields, on=["plate", "well"], how="left", maintain_order="left")
    with np.load(crops / "crops.npz") as archive:
        images = archive["images"][table["row"].to_numpy()]
    keys = []
    for row, image in zip(table.iter_rows(named=True), images, strict=True):
        week, number = row["plate"].split("_")
        name = f"{row['TableNumber']}_{row['ImageNumber']}_{len(keys)}.0"
        (folder / week / number).mkdir(parents=True, exist_ok=True)
        small = resize(image / image.max(), (96, 96), anti_aliasing=True)
        np.save(
            folder / week / number / f"{name}.npy", (np.asarray(small) * 255).round().astype(np.uint8)[..., [1, 2, 0]]
        )
        keys.append(f"{week}_{number}_{name}")
    control = table["compound"] == "DMSO"
    drop = pl.DataFrame(
        {
            "SAMPLE_KEY": keys, "CPD_NAME": table["compound"], "ANNOT": table["moa"], "STATE": (~control).cast(pl.Int8),
            "SPLIT": pl.Series(["test" if i % 3 == 0 else "train" for i in range(len(keys))]),
            "BATCH": table["week"], "DOSE": table["concentration_um"],
        }
    )  # fmt: skip
    drop.with_row_index("").write_csv(folder / "bbbc021_df_all.csv")
    return table


def test_impas_drop_of_bbbc021(shared_data: Path, tmp_path: Path):
    crops = shared_data / "bbbc021"
    made = drop_of_impa(tmp_path, crops)
    compounds, fields = crops / "BBBC021_v1_compound.csv", crops / "BBBC021_v1_image.csv"
    root = prepare(root=tmp_path / "out", folder=tmp_path, compounds=compounds, fields=fields, accept=SHARED)
    dataset = opened(root)
    index = dataset.index
    assert dataset.info.image_shape == (3, 96, 96) and dataset.info.channels == ("actin", "tubulin", "DAPI")
    assert index["well"].to_list() == made["well"].to_list() and index["plate"].unique().to_list() == ["Week4_27801"]
    assert index["batch"].unique().to_list() == ["Week4"]
    assert set(index["split"]) >= {"train", "test"}
    assert (index["split"] == "test").to_list() == [i % 3 == 0 for i in range(len(index))]
    taxol = index.filter(pl.col("treatment") == "taxol 0.3 µM")
    assert taxol["smiles"].list.first().null_count() == 0 and taxol["moa"].unique().to_list() == [
        "Microtubule stabilizers"
    ]
    row = index.row(5, named=True)
    week, number, rest = row["SAMPLE_KEY"].split("_", 2)
    np.testing.assert_array_equal(
        dataset.images(np.array([5]))[0], np.moveaxis(np.load(tmp_path / week / number / f"{rest}.npy"), -1, 0)
    )
    bare = opened(prepare(root=tmp_path / "bare", folder=tmp_path, accept=SHARED))
    assert "smiles" not in bare.index.columns or bare.index["smiles"].list.drop_nulls().list.len().sum() == 0


def test_a_table_that_is_not_impas_is_explained(tmp_path: Path):
    pl.DataFrame({"SAMPLE_KEY": ["a"]}).write_csv(tmp_path / "bbbc021_df_all.csv")
    with pytest.raises(InvalidIndex, match="is this IMPA's table"):
        prepare(root=tmp_path / "out", folder=tmp_path)
    pl.DataFrame({name: ["x"] for name in IMPA_COLUMNS}).write_csv(tmp_path / "bbbc021_df_all.csv")
    with pytest.raises(InvalidIndex, match=r"SAMPLE_KEY \['x'\] is not like Week1_22123_1_11_3.0"):
        prepare(root=tmp_path / "out", folder=tmp_path)


def random_drop(folder: Path, drugs: Sequence[str] = ("DMSO", "taxol"), fields: int = 8) -> pl.DataFrame:
    """Write a drop of random crops: two weeks of one plate each, so many fields a plate, three cells a field."""
    random = np.random.default_rng(0)
    rows = []
    for week, number in (("Week1", "22123"), ("Week2", "24121")):
        (folder / week / number).mkdir(parents=True)
        for field in range(fields):
            drug = drugs[field % len(drugs)]
            for cell in range(3):
                rest = f"1_{field}_{cell}.0"
                np.save(folder / week / number / f"{rest}.npy", random.integers(0, 256, (96, 96, 3), dtype=np.uint8))
                rows.append(
                    {
                        "SAMPLE_KEY": f"{week}_{number}_{rest}", "CPD_NAME": drug, "BATCH": week,
                        "ANNOT": "DMSO" if drug == "DMSO" else "Microtubule stabilizers", "STATE": int(drug != "DMSO"),
                        "SPLIT": "test" if field >= 6 else "train", "DOSE": 0.0 if drug == "DMSO" else 0.3,
                    }
                )  # fmt: skip
    table = pl.DataFrame(rows)
    table.with_row_index("").write_csv(folder / "bbbc021_df_all.csv")
    return table


def test_a_drop_of_random_crops(tmp_path: Path):
    made, split = random_drop(tmp_path), partial(split_published, val=0.2)
    dataset = opened(prepare(root=tmp_path / "out", folder=tmp_path, split=split))
    index = dataset.index
    assert index["image_id"].to_list() == made["SAMPLE_KEY"].to_list()
    assert index["plate"].unique().sort().to_list() == ["Week1_22123", "Week2_24121"]
    assert index["well"].head(4).to_list() == ["1_0"] * 3 + ["1_1"]  # a field counts as a well
    assert set(index["treatment"]) == {"DMSO", "taxol 0.3 µM"}
    assert index["is_control"].equals((made["CPD_NAME"] == "DMSO").alias("is_control"))
    assert ((index["split"] == "test") == (made["SPLIT"] == "test")).all()  # the published split is kept
    assert index.filter(pl.col("split") == "val").height
    wells = index.group_by("plate", "well").agg(pl.col("split").n_unique())
    assert wells["split"].max() == 1
    for number in (0, 40):
        week, plate, rest = made["SAMPLE_KEY"][number].split("_", 2)
        crop = np.load(tmp_path / week / plate / f"{rest}.npy")
        np.testing.assert_array_equal(dataset.images(np.array([number]))[0], np.moveaxis(crop, -1, 0))


def test_compounds_are_held_out_as_configured(repo: Path, tmp_path: Path):
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    paths = [f"paths.data={tmp_path}", f"paths.datasets={tmp_path}"]
    with initialize_config_dir(version_base="1.3", config_dir=str(repo / "conf")):
        config = compose("prepare", ["data=bbbc021_unseen", *paths])
    unseen = [str(name) for name in config.data.prepare.split.test]
    drugs = ["DMSO", "taxol", *unseen]
    random_drop(tmp_path, drugs, fields=2 * len(drugs))
    compounds = pl.DataFrame({"compound": drugs, "smiles": ["C" * i for i in range(len(drugs))]})
    compounds.write_csv(tmp_path / "BBBC021_v1_compound.csv")
    index = open_dataset(instantiate(config.data.prepare)).index.explode("perturbation")
    side = {name: set(part["split"]) for (name,), part in index.group_by("perturbation")}
    assert len(unseen) == 8 and all(side[name] == {"test"} for name in unseen)
    assert "test" not in side["taxol"] and "test" in side["DMSO"]


def test_a_drop_that_lacks_crops_or_fields_says_which(tmp_path: Path):
    made = random_drop(tmp_path)
    (tmp_path / "Week1" / "22123" / "1_3_1.0.npy").unlink()
    with pytest.raises(
        UnreadableImage, match=r"lacks 1 of the 48 .*Week1_22123 \(1 files\).*1_3_1.0.npy.*on_error=skip"
    ):
        prepare(root=tmp_path / "out", folder=tmp_path)
    root = prepare(root=tmp_path / "out", folder=tmp_path, on_error="skip")
    assert len(opened(root)) == made.height - 1
    fields = pl.DataFrame(
        {
            "TableNumber": "1", "ImageNumber": [str(i) for i in range(8)], "Image_Metadata_Plate_DAPI": "Week1_22123",
            "Image_Metadata_Well_DAPI": [f"B0{i + 2}" for i in range(8)],
        }
    )  # fmt: skip
    fields.write_csv(tmp_path / "fields.csv")
    with pytest.raises(InvalidIndex, match=r"fields.csv has no field for SAMPLE_KEY \['Week2_24121_1_0_0.0'"):
        prepare(root=tmp_path / "other", folder=tmp_path, fields=tmp_path / "fields.csv", on_error="skip")
    assert not (tmp_path / "other").exists()
