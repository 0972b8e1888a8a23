"""RxRx3-core: rows of parquet files with real and rendered JPEG 2000 images, and the 380,432 real rows of metadata."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import polars as pl
import pytest

from tests.data.prepare.public.official import jpeg_2000, opened, recursion_3, serving
from virtassay.data.prepare.annotation import Annotation, make_index
from virtassay.data.prepare.public import RxRx3Core, prepare_public
from virtassay.data.prepare.public.rxrx3_core import ADDRESS, annotate
from virtassay.data.prepare.scaling import Percentile
from virtassay.data.prepare.sources import UnreadableImage
from virtassay.data.prepare.splits import split_by_well
from virtassay.schema import InvalidIndex

DOUBLES = ["same_images", "near_images"]  # the few real sites stand at many places here


def prepare(*, address: str = ADDRESS, **changes: Any) -> Path | None:
    settings = {"scaling": Percentile(), "split": partial(split_by_well, val=0.0), "accept": DOUBLES}
    return prepare_public(RxRx3Core(address), **(settings | changes))


def wells() -> pl.DataFrame:
    kinds = (
        ("EMPTY_control", None, None, None), ("CRISPR_control", None, None, None),
        ("PLK1_guide_3", "PLK1", None, None), ("Cetirizine", None, "OC(=O)COCCN1CCNCC1.Cl |c:1,t:2|", 0.25),
    )  # fmt: skip
    rows = [
        {
            "well_id": f"{experiment}_{plate}_{address}", "experiment_name": experiment, "plate": plate,
            "address": address, "gene": gene, "treatment": treatment, "SMILES": smiles, "concentration": dose,
            "perturbation_type": "COMPOUND" if dose else "CRISPR", "cell_type": "HUVEC",
        }
        for experiment in ("compound-001", "gene-001")
        for plate in (1, 2)
        for (treatment, gene, smiles, dose), address in zip(kinds, ("AA15", "AA16", "B02", "Z46"), strict=True)
    ]  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


def test_rows_of_parquet_files_become_images(tmp_path: Path):
    recursion_3(tmp_path, wells(), jpeg_2000())
    root = prepare(root=tmp_path / "out", folder=tmp_path)
    dataset = opened(root)
    index = dataset.index
    assert len(dataset) == 16 and dataset.info.image_shape == (6, 32, 32)
    assert set(index["plate"]) == {f"{e}/Plate{p}" for e in ("compound-001", "gene-001") for p in (1, 2)}
    columns = ["control_type", "is_control", "perturbation_type", "salt", "treatment"]
    assert sorted(index.select(columns).unique().rows(), key=str) == [
        ("non-targeting", False, "crispr", False, "CRISPR_control"),
        ("untreated", True, "none", False, "EMPTY_control"),
        (None, False, "compound", True, "Cetirizine 0.25 µM"),
        (None, False, "crispr", False, "PLK1_guide_3"),
    ]
    drug = index.filter(pl.col("salt"))
    assert drug["smiles"].list.first()[0] == "Cl.O=C(O)COCCN1CCNCC1" and drug["inchikey"].list.first()[0].endswith("-N")
    assert index.filter(pl.col("treatment") == "PLK1_guide_3")["gene"].list.first().unique().to_list() == ["PLK1"]
    raw = imagecodecs.jpeg2k_decode(jpeg_2000()[5][4])
    assert np.corrcoef(raw.ravel(), dataset.images(np.array([5]))[0, 4].ravel())[0, 1] > 0.99


def test_the_real_site_is_read(shared_data: Path, tmp_path: Path):
    folder = shared_data / "metadata" / "rxrx3"
    encoded = [(folder / f"AA41_s1_{channel}.jp2").read_bytes() for channel in range(1, 7)]
    recursion_3(tmp_path, wells(), [encoded])
    root = prepare(root=tmp_path / "out", folder=tmp_path, crop=256, size=64)
    assert opened(root).info.image_shape == (6, 64, 64)


def test_the_real_metadata_is_mapped_in_seconds(shared_data: Path):
    raw = pl.read_parquet(shared_data / "metadata" / "rxrx3" / "metadata_rxrx3_trimmed.parquet")
    table = annotate(raw)
    assert table.height == 380_432 and table["gene"].n_unique() == 736  # and null
    assert dict(table["control_type"].value_counts().rows()) == {
        "untreated": 193_377,
        "non-targeting": 22_062,
        None: 164_993,
    }
    assert table.group_by("experiment_name").agg(pl.col("is_control").any())["is_control"].all()
    some = table.gather_every(50).with_row_index("well")
    columns = {"perturbation": "treatment", "smiles": "SMILES", "dose_um": "concentration", "batch": "experiment_name"}
    index = make_index(some, "RxRx3", Annotation(columns, {"plate": "P"}))
    compounds = index.filter(pl.col("smiles").list.first().is_not_null())
    assert not compounds["smiles"].list.first().str.contains("|", literal=True).any()
    assert compounds["inchikey"].list.first().str.len_chars().eq(27).all()


def test_what_is_missing_or_wrong_is_named(tmp_path: Path):
    recursion_3(tmp_path, wells(), jpeg_2000())
    (tmp_path / "data" / "train-00001-of-00002.parquet").rename(tmp_path / "away")
    with pytest.raises(UnreadableImage, match=r"8 of 16 wells .* none of the 1 parquet files .*gene-001/Plate1', 4"):
        prepare(root=tmp_path / "out", folder=tmp_path)
    root = prepare(root=tmp_path / "out", folder=tmp_path, keep={"experiment_name": ["compound-001"]})
    assert len(opened(root)) == 8
    wells().drop("SMILES", "plate").write_csv(tmp_path / "metadata_rxrx3_core.csv")
    with pytest.raises(InvalidIndex, match=r"\['plate', 'SMILES'\] are missing: is this RxRx3-core's metadata"):
        prepare(root=tmp_path / "other", folder=tmp_path)
    (tmp_path / "data" / "train-00000-of-00002.parquet").unlink()
    wells().write_csv(tmp_path / "metadata_rxrx3_core.csv")
    with pytest.raises(FileNotFoundError, match=r"data has no parquet files: download=true"):
        prepare(root=tmp_path / "other", folder=tmp_path)


def test_a_row_that_is_no_image_is_named(tmp_path: Path):
    pictures = jpeg_2000()[:3]
    pictures[1][2] = b"no image"
    recursion_3(tmp_path, wells(), pictures)
    with pytest.raises(UnreadableImage, match="the image compound-001/Plate1/AA16_s1_3 cannot be decoded"):
        prepare(root=tmp_path / "out", folder=tmp_path)


def test_a_dry_run_knows_the_35_files(tmp_path: Path, caplog):
    with caplog.at_level(logging.INFO), serving(tmp_path) as server:
        assert prepare(root=tmp_path / "out", folder=tmp_path / "mine", address=server.url, dry_run=True) is None
    assert (
        "36 files, 17.4 GB to download" in caplog.text
        and "data/train-00034-of-00035.parquet (about 497 MB" in caplog.text
    )
