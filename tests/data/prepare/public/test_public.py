"""Public screens: the shared excerpts as configured, and folders laid out as their publishers do."""

import json
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from omegaconf import OmegaConf
from skimage import io as imageio
from skimage.transform import resize

from tests.data.prepare.public.official import opened
from virtassay.data.dataset.store import open_dataset
from virtassay.data.prepare.public.bbbc021_impa import IMPA_COLUMNS, prepare_bbbc021_impa, split_published
from virtassay.data.prepare.scaling import Percentile
from virtassay.data.prepare.sources import FilePerChannel, UnreadableImage
from virtassay.data.prepare.splits import split_by_well
from virtassay.data.prepare.table import prepare_table
from virtassay.schema import InvalidIndex

SHARED = ("wells", "fields", "control_wells")  # what a split of images, as the drop has one, shares


def test_the_shared_bbbc021_crops_as_configured(shared_data: Path, repo: Path, tmp_path: Path):
    from hydra.utils import instantiate

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
    root = prepare_bbbc021_impa(
        root=tmp_path / "out", folder=tmp_path, compounds=compounds, fields=fields, accept=SHARED
    )
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
    bare = opened(prepare_bbbc021_impa(root=tmp_path / "bare", folder=tmp_path, accept=SHARED))
    assert "smiles" not in bare.index.columns or bare.index["smiles"].list.drop_nulls().list.len().sum() == 0


def test_a_table_that_is_not_impas_is_explained(tmp_path: Path):
    pl.DataFrame({"SAMPLE_KEY": ["a"]}).write_csv(tmp_path / "bbbc021_df_all.csv")
    with pytest.raises(InvalidIndex, match="is this IMPA's table"):
        prepare_bbbc021_impa(root=tmp_path / "out", folder=tmp_path)
    pl.DataFrame({name: ["x"] for name in IMPA_COLUMNS}).write_csv(tmp_path / "bbbc021_df_all.csv")
    with pytest.raises(InvalidIndex, match=r"SAMPLE_KEY \['x'\] is not like Week1_22123_1_11_3.0"):
        prepare_bbbc021_impa(root=tmp_path / "out", folder=tmp_path)


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
    dataset = opened(prepare_bbbc021_impa(root=tmp_path / "out", folder=tmp_path, split=split))
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


def test_rxrx1_as_its_authors_lay_it_out(repo: Path, tmp_path: Path):
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    rng = np.random.default_rng(0)
    rows = []
    for experiment, plate, well, site in product(("HUVEC-01", "U2OS-02"), (1, 2), ("B03", "B04", "C05"), (1, 2)):
        folder = tmp_path / "images" / experiment / f"Plate{plate}"
        folder.mkdir(parents=True, exist_ok=True)
        for channel in range(1, 7):
            image = rng.integers(0, 40 * channel, (512, 512)).astype(np.uint8)
            imageio.imsave(folder / f"{well}_s{site}_w{channel}.png", image, check_contrast=False)
        control = well == "B03"
        rows.append(
            {
                "site_id": f"{experiment}_{plate}_{well}_{site}", "well_id": f"{experiment}_{plate}_{well}",
                "cell_type": experiment.split("-")[0], "dataset": "train", "experiment": experiment, "plate": plate,
                "well": well, "site": site, "well_type": "negative_control" if control else "treatment",
                "sirna": "EMPTY" if control else f"s{plate}{well}", "sirna_id": 1138 if control else plate,
            }
        )  # fmt: skip
    pl.DataFrame(rows).write_csv(tmp_path / "metadata.csv")
    paths = [f"paths.data={tmp_path}", f"paths.datasets={tmp_path / 'datasets'}"]
    with initialize_config_dir(version_base="1.3", config_dir=str(repo / "conf")):
        config = compose("prepare", ["data=rxrx1", *paths])
    dataset = open_dataset(instantiate(config.data.prepare))
    assert len(dataset) == 24 and dataset.info.image_shape == (6, 96, 96)
    assert set(dataset.index["batch"]) == {"HUVEC-01", "U2OS-02"} and set(dataset.index["cell_type"]) == {
        "HUVEC",
        "U2OS",
    }
    assert dataset.index["plate"].n_unique() == 4 and dataset.index["is_control"].sum() == 8
    row = dataset.index.with_row_index().filter(pl.col("image_id") == "U2OS-02_2_C05_2")["index"].to_numpy()
    raw = imageio.imread(tmp_path / "images" / "U2OS-02" / "Plate2" / "C05_s2_w6.png")[128:384, 128:384]
    stored = dataset.images(row)[0, 5].astype(float)
    assert (
        np.corrcoef(stored.ravel(), np.asarray(resize(raw.astype(float), (96, 96), anti_aliasing=True)).ravel())[0, 1]
        > 0.99
    )


def test_a_drop_that_lacks_crops_or_fields_says_which(tmp_path: Path):
    made = random_drop(tmp_path)
    (tmp_path / "Week1" / "22123" / "1_3_1.0.npy").unlink()
    with pytest.raises(
        UnreadableImage, match=r"lacks 1 of the 48 .*Week1_22123 \(1 files\).*1_3_1.0.npy.*on_error=skip"
    ):
        prepare_bbbc021_impa(root=tmp_path / "out", folder=tmp_path)
    root = prepare_bbbc021_impa(root=tmp_path / "out", folder=tmp_path, on_error="skip")
    assert len(opened(root)) == made.height - 1
    fields = pl.DataFrame(
        {
            "TableNumber": "1", "ImageNumber": [str(i) for i in range(8)], "Image_Metadata_Plate_DAPI": "Week1_22123",
            "Image_Metadata_Well_DAPI": [f"B0{i + 2}" for i in range(8)],
        }
    )  # fmt: skip
    fields.write_csv(tmp_path / "fields.csv")
    with pytest.raises(InvalidIndex, match=r"fields.csv has no field for SAMPLE_KEY \['Week2_24121_1_0_0.0'"):
        prepare_bbbc021_impa(root=tmp_path / "other", folder=tmp_path, fields=tmp_path / "fields.csv", on_error="skip")
    assert not (tmp_path / "other").exists()
