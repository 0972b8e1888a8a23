"""What share of a planted contrast is brightness or cell count, on made and on real images."""

from pathlib import Path

import numpy as np
import polars as pl

from virtassay.card.contrast import contrast_aucs, draw_contrasts, shares
from virtassay.card.measurements import measure
from virtassay.data.dataset.store import Dataset, DatasetInfo, open_dataset, write_dataset
from virtassay.schema import validate

WELLS, CROPS, SIZE = 4, 12, 24


def screen(root: Path, kind: str) -> Dataset:
    """A batch of control wells, and of wells whose treatment changes one thing alone, `kind`."""
    random = np.random.default_rng(0)
    rows, images = [], []
    for treated in (False, True):
        for well in range(WELLS):
            for crop in range(CROPS):
                noise = random.normal(size=(SIZE, SIZE))
                if treated and kind == "texture":
                    noise = np.kron(noise[::2, ::2], np.ones((2, 2)))  # coarser, of the same mean and spread
                light = 90 + 10 * (treated and kind == "brightness") + random.normal(0, 2)
                images.append(light + 20 * (noise - noise.mean()) / noise.std())
                count = 10 + random.integers(3) - 5 * (treated and kind == "count")
                rows.append((f"{treated}{well}{crop}", "p", f"{'AB'[treated]}{well + 1:02d}", treated, int(count)))
    names = ["image_id", "plate", "well", "treated", "cells_in_field"]
    index = pl.DataFrame(rows, names, orient="row").with_columns(
        batch=pl.lit("b"),
        is_control=~pl.col("treated"),
        perturbation=pl.when("treated").then(pl.lit("drug")).otherwise(pl.lit("DMSO")),
    )
    info = DatasetInfo("toy", ("DNA",), (1, SIZE, SIZE), "uint8")
    pixels = np.stack(images)[:, None].round().clip(0, 255).astype(np.uint8)
    return open_dataset(write_dataset(root, info, pixels, validate(index)))


def explained_by(dataset: Dataset) -> dict[str, tuple[float, float, float, float | None]]:
    contrasts = draw_contrasts(dataset.index, 1000)
    measured = measure(dataset, np.unique(np.concatenate([one.rows for one in contrasts])))
    found = shares(contrast_aucs(contrasts, dataset, measured))
    return {share.confounder: (share.told, share.alone, share.without, share.explained) for share in found}


def test_a_treatment_that_is_brightness_alone_is_explained_by_it(tmp_path: Path):
    found = explained_by(screen(tmp_path / "d", "brightness"))
    all_of_it, alone, _, explained = found["brightness"]
    assert all_of_it > 0.9 and alone > 0.95 and explained is not None and explained > 0.95
    counted = found["cell count"][3]
    assert counted is not None and counted < 0.3


def test_a_treatment_that_is_texture_alone_is_not(tmp_path: Path):
    all_of_it, alone, without, explained = explained_by(screen(tmp_path / "d", "texture"))["brightness"]
    assert all_of_it > 0.95 and abs(alone - 0.5) < 0.15 and without > 0.95
    assert explained is not None and explained < 0.3


def test_a_treatment_that_kills_and_nothing_else_is_explained_by_the_count_alone(tmp_path: Path):
    found = explained_by(screen(tmp_path / "d", "count"))
    assert found["cell count"][1] > 0.95
    assert found["brightness"][3] is None  # pixels tell nothing: there is no contrast to explain


def test_treatments_of_one_well_and_batches_without_controls_are_not_asked(tmp_path: Path):
    index = screen(tmp_path / "d", "texture").index
    alone = index.filter(pl.col("is_control") | (pl.col("well") == "B01"))
    assert draw_contrasts(alone, 1000) == []
    assert draw_contrasts(index.filter("is_control"), 1000) == []
    other_batch = index.with_columns(batch=pl.when("is_control").then(pl.lit("c")).otherwise("batch"))
    assert draw_contrasts(other_batch, 1000) == []
    assert (
        shares(contrast_aucs([], open_dataset(tmp_path / "d"), measure(open_dataset(tmp_path / "d"), np.arange(2))))
        == []
    )


def test_few_images_are_drawn_where_few_may_be_read(tmp_path: Path):
    index = screen(tmp_path / "d", "texture").index
    (contrast,) = draw_contrasts(index, 20)
    assert contrast.treated.sum() == 10 and (~contrast.treated).sum() == 10
    assert index["is_control"].to_numpy()[contrast.rows[~contrast.treated]].all()
    assert len(np.unique(contrast.well[contrast.treated])) > 1


def test_on_real_crops_mean_intensity_is_most_of_what_cyclohexamide_shows(shared_data: Path, tmp_path: Path):
    table = pl.read_csv(shared_data / "bbbc021" / "crops.csv", infer_schema_length=None).with_row_index("_row")
    plates = ["Week4_27801", "Week4_27821", "Week4_27861"]
    drug = (pl.col("compound") == "cyclohexamide") & (pl.col("concentration_um") == 15)
    wanted = pl.col("plate").is_in(plates) & ((pl.col("compound") == "DMSO") | drug) & ~pl.col("qc_suspect")
    table = table.filter(wanted)
    table = table.filter(pl.int_range(pl.len()).over("plate", "compound") < 60)
    pixels = np.load(shared_data / "bbbc021" / "crops.npz")["images"][table["_row"].to_numpy()]
    index = table.select(
        "plate", "well", image_id=pl.format("{}", "_row"), batch=pl.lit("Week4"), perturbation="compound",
        is_control=pl.col("compound") == "DMSO",
    )  # fmt: skip
    info = DatasetInfo("crops", ("DAPI", "actin", "tubulin"), (3, 68, 68), "uint16")
    write_dataset(tmp_path / "d", info, np.moveaxis(pixels, 3, 1), validate(index))
    found = explained_by(open_dataset(tmp_path / "d"))
    assert set(found) == {"brightness"}  # single cells: their number says nothing
    all_of_it, alone, _, explained = found["brightness"]
    assert all_of_it > 0.95 and alone > 0.9  # 0.99 and 0.97 where it was measured with ImageNet features
    assert explained is not None and explained > 0.8
