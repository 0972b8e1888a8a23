"""RxRx1: its authors' layout with rendered images, the wells of the real tables, genes, controls and downloads."""

import zipfile
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import imagecodecs
import numpy as np
import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from skimage import io as imageio
from skimage.transform import resize

from tests.data.prepare.public.official import opened, recursion_1, serving
from virtassay.data.prepare.public import RxRx1, prepare_public
from virtassay.data.prepare.public.rxrx1 import ADDRESS, sites
from virtassay.data.prepare.scaling import Percentile
from virtassay.data.prepare.sources import UnreadableImage
from virtassay.data.prepare.splits import split_by_well
from virtassay.schema import InvalidIndex

DOUBLES = ["same_images", "near_images"]  # the few real sites stand at many places here


def prepare(*, address: str = ADDRESS, genes: Path | None = None, **changes: Any) -> Path | None:
    settings = {"scaling": Percentile(), "split": partial(split_by_well, val=0.0), "accept": DOUBLES}
    return prepare_public(RxRx1(genes, address), **(settings | changes))


def official(wells: pl.DataFrame) -> pl.DataFrame:
    """Metadata in the official form, two sites a well, from experiment, plate, well, sirna and well_type."""
    experiment = pl.col("experiment")
    table = wells.join(pl.DataFrame({"site": [1, 2]}), how="cross").with_columns(
        well_id=pl.format("{}_{}_{}", "experiment", "plate", "well"), cell_type=experiment.str.extract("^([^-]+)"),
        dataset=pl.lit("train"), sirna_id=pl.lit(0),
    )  # fmt: skip
    return table.with_columns(site_id=pl.format("{}_{}", "well_id", "site"))


def small() -> pl.DataFrame:
    rows = [
        {"experiment": experiment, "plate": plate, "well": well, "sirna": sirna, "well_type": kind}
        for experiment in ("HUVEC-01", "U2OS-02")
        for plate in (1, 2)
        for well, sirna, kind in (
            ("B02", "EMPTY", "negative_control"), ("B03", "s20592", "positive_control"), ("B04", "s21318", "treatment"),
        )
    ]  # fmt: skip
    return official(pl.DataFrame(rows))


def test_sites_become_images(shared_data: Path, tmp_path: Path):
    recursion_1(tmp_path, small())
    genes = shared_data / "metadata" / "rxrx1" / "sirna_genes.csv"
    root = prepare(root=tmp_path / "out", folder=tmp_path, genes=genes, size=16)
    dataset = opened(root)
    index = dataset.index
    assert dataset.info.image_shape == (6, 16, 16) and len(dataset) == 24
    assert dataset.info.channels == ("DNA", "ER", "actin", "RNA", "mitochondria", "golgi")
    assert dataset.info.licence == "CC BY-NC-SA 4.0" and "RxRx1" in (dataset.info.citation or "")
    kinds = index.select(pl.col("perturbation").list.first(), "control_type", "is_control", "perturbation_type")
    assert sorted(kinds.unique().rows()) == [
        ("EMPTY", "negative", True, "none"), ("s20592", "positive", False, "sirna"), ("s21318", None, False, "sirna"),
    ]  # fmt: skip
    assert set(index.select(pl.col("perturbation").list.first(), pl.col("gene").list.first()).rows()) == {
        ("EMPTY", None), ("s20592", "SEMA4D"), ("s21318", "LILRB1"),
    }  # fmt: skip
    assert set(index["plate"]) == {f"{e}/Plate{p}" for e in ("HUVEC-01", "U2OS-02") for p in (1, 2)}
    row = index.with_row_index().filter(pl.col("image_id") == "U2OS-02_2_B04_2")["index"].to_numpy()
    png = tmp_path / "rxrx1" / "images" / "U2OS-02" / "Plate2" / "B04_s2_w6.png"
    raw = imagecodecs.png_decode(png.read_bytes()).reshape(16, 2, 16, 2).mean((1, 3))
    assert np.corrcoef(raw.ravel(), dataset.images(row)[0, 5].ravel())[0, 1] > 0.95


def test_the_wells_of_the_real_tables_are_mapped_in_seconds(shared_data: Path, tmp_path: Path):
    folder = shared_data / "metadata" / "rxrx1"
    tables = [pl.read_csv(folder / f"{name}.csv", schema_overrides={"sirna": pl.String}) for name in ("train", "val")]
    wells = pl.concat(tables).unique(["experiment", "plate", "well"], maintain_order=True)
    known = pl.read_csv(folder / "sirna_genes.csv").select(name="siRNA ID").with_row_index("sirna").cast(pl.String)
    wells = wells.join(known, on="sirna").with_columns(sirna="name", well_type=pl.lit("treatment"))
    assert wells.height == 36_515
    official(wells).write_csv(tmp_path / "metadata.csv")
    table = sites(tmp_path, folder / "sirna_genes.csv")
    assert table.height == 2 * 36_515 and table["gene"].null_count() < 0.02 * table.height
    assert set(table["cell_type"]) == {"HEPG2", "HUVEC", "RPE", "U2OS"} and table["folder"].n_unique() == 33 * 4


def test_what_is_missing_or_wrong_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"has no metadata.csv: is it the folder of RxRx1"):
        prepare(root=tmp_path / "out", folder=tmp_path)
    recursion_1(tmp_path, small())
    for plate in ("HUVEC-01/Plate1", "U2OS-02/Plate2"):
        for path in (tmp_path / "rxrx1" / "images" / plate).glob("B03*"):
            path.unlink()
    with pytest.raises(UnreadableImage, match=r"24 of the 144 .* 2 of 4 plates: HUVEC-01/Plate1 \(12 files\), U2OS-02"):
        prepare(root=tmp_path / "out", folder=tmp_path)
    root = prepare(root=tmp_path / "out", folder=tmp_path, on_error="skip")
    assert len(opened(root)) == 20
    small().drop("well_type").write_csv(tmp_path / "rxrx1" / "metadata.csv")
    with pytest.raises(InvalidIndex, match=r"\['well_type'\] are missing: is this RxRx1's metadata"):
        prepare(root=tmp_path / "other", folder=tmp_path)


def test_a_zip_file_that_climbs_out_is_refused_and_a_good_one_unpacked(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**12))  # the real set needs 99 GB
    recursion_1(tmp_path, small())
    (tmp_path / "site").mkdir()
    for name, pattern in (("metadata", "rxrx1/metadata.csv"), ("images", "rxrx1/images/**/*.png")):
        with zipfile.ZipFile(tmp_path / "site" / f"rxrx1-{name}.zip", "w") as archive:
            for path in sorted(tmp_path.glob(pattern)):
                archive.write(path, path.relative_to(tmp_path))
    mine = tmp_path / "mine"
    with serving(tmp_path / "site") as server:
        root = prepare(root=tmp_path / "out", folder=mine, address=server.url, download=True)
        assert len(opened(root)) == 24
        with zipfile.ZipFile(tmp_path / "site" / "rxrx1-images.zip", "a") as archive:
            archive.writestr("../../stolen.txt", "x")
        with pytest.raises(ValueError, match=r"refused: 1 of its 145 files.*stolen.txt"):
            prepare(root=tmp_path / "other", folder=tmp_path / "theirs", address=server.url, download=True)
        with pytest.raises(FileNotFoundError, match=r"rxrx1-metadata.zip .* could not be downloaded \(404"):
            prepare(root=tmp_path / "other", folder=tmp_path / "fourth", address=f"{server.url}/no", download=True)
    assert not (tmp_path / "stolen.txt").exists() and not (tmp_path / "theirs" / "rxrx1" / "images").exists()


def test_rxrx1_as_its_authors_lay_it_out(repo: Path, tmp_path: Path):
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
    dataset = opened(instantiate(config.data.prepare))
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
