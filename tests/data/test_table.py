"""Anybody's screen → a dataset folder: every way that images lie, and every way that tables and images are wrong."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import polars as pl
import pytest
import tifffile
from PIL import Image
from skimage.transform import resize

from virtassay.data.molecules import InvalidSmiles
from virtassay.data.scaling import Fixed, Percentile, rescale
from virtassay.data.sources import FilePerChannel, FilePerCrop, Stack, UnreadableImage
from virtassay.data.splits import split_by_values, split_by_well
from virtassay.data.store import Dataset, open_dataset
from virtassay.data.table import prepare_table
from virtassay.schema import InvalidIndex

N, C, H, W = 24, 3, 12, 12
CHANNELS = ("DAPI", "actin", "tubulin")
COLUMNS = {"perturbation": "compound", "dose_um": "conc", "well": "Well", "batch": "week"}


def pixels(dtype: str = "uint8", channels: int = C) -> np.ndarray:
    """Random images (n, h, w, c); treated ones are brighter than controls."""
    top = np.iinfo(dtype).max // 2
    images = np.random.default_rng(0).integers(0, top, (N, H, W, channels))
    return (images + top * (np.arange(N) % 4 != 0)[:, None, None, None]).astype(dtype)


def screen() -> pl.DataFrame:
    """Two plates of twelve wells, an image a well; every fourth well is DMSO, the others taxol at two doses."""
    number = np.arange(N)
    control = number % 4 == 0
    return pl.DataFrame(
        {
            "plate": [f"00{i // 12}" for i in number],
            "Well": [f"{'AB'[i % 12 // 6]}{i % 6 + 1:02d}" for i in number],
            "week": "w1",
            "site": "1",
            "compound": np.where(control, "DMSO", "taxol"),
            "conc": np.where(control, 0.0, np.where(number % 4 == 1, 0.3, 3.0)),
            "smiles": np.where(control, "", "CCO"),
            "file": [f"crop{i}" for i in number],
        }
    )


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Dataset]:
    """Prepare the screen into tmp_path/out; keyword arguments override; a DataFrame as `table` is written as csv.

    Pictures take most of the time: they are drawn only in the test of them.
    """
    for name in ("plate_layout", "treatment_sheet"):
        monkeypatch.setattr(f"virtassay.data.table.{name}", lambda *_, **__: None)

    def run(**changes: Any) -> Dataset:
        table = changes.pop("table", screen())
        if isinstance(table, pl.DataFrame):
            table.write_csv(tmp_path / "screen.csv")
            table = tmp_path / "screen.csv"
        if "images" not in changes:
            np.save(tmp_path / "stack.npy", pixels())
            changes["images"] = Stack(str(tmp_path / "stack.npy"))
        settings = {
            "channels": CHANNELS, "scaling": None, "split": partial(split_by_well, seed=0), "columns": COLUMNS,
            "controls": ["DMSO"], "root": tmp_path / "out", "table": table,
        }  # fmt: skip
        return open_dataset(prepare_table(**(settings | changes)))

    return run


def first(images: np.ndarray) -> np.ndarray:
    return np.moveaxis(images, -1, 1)


# every way that images lie


def stack_npy(folder: Path, images: np.ndarray) -> Stack:
    np.save(folder / "a.npy", images)
    return Stack(str(folder / "a.npy"))


def stack_npz(folder: Path, images: np.ndarray) -> Stack:
    np.savez_compressed(folder / "a.npz", other=np.zeros(3), images=np.asfortranarray(images))
    return Stack(str(folder / "a.npz"), key="images")


def stack_channels_first(folder: Path, images: np.ndarray) -> Stack:
    np.save(folder / "a.npy", first(images))
    return Stack(str(folder / "a.npy"), channels_first=True)


def crop_npy(folder: Path, images: np.ndarray) -> FilePerCrop:
    for i, image in enumerate(images):
        np.save(folder / f"crop{i}.npy", image)
    return FilePerCrop(str(folder), "{file}.npy")


def crop_tif(folder: Path, images: np.ndarray) -> FilePerCrop:
    for i, image in enumerate(first(images)):
        tifffile.imwrite(folder / f"crop{i}.tif", image, compression="lzw", photometric="minisblack")
    return FilePerCrop(str(folder), "{file}.tif", channels_first=True)


def crop_png(folder: Path, images: np.ndarray) -> FilePerCrop:
    for i, image in enumerate(images):
        (folder / f"crop{i}.png").write_bytes(imagecodecs.png_encode(image))
    return FilePerCrop(str(folder), "{file}.png")


def channel_tif(folder: Path, images: np.ndarray) -> FilePerChannel:
    for row, image in zip(screen().iter_rows(named=True), images, strict=True):
        (folder / row["plate"]).mkdir(exist_ok=True)
        for c in range(image.shape[2]):
            tifffile.imwrite(folder / row["plate"] / f"{row['Well']}_s01_w{c + 1}.tif", image[..., c])
    return FilePerChannel(str(folder), "{plate}/{well}_s{site:02d}_w{channel}.tif", ["1", "2", "3"])


SOURCES = [stack_npy, stack_npz, stack_channels_first, crop_npy, crop_tif, crop_png, channel_tif]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_images_are_found_wherever_they_lie(prepare: Callable, tmp_path: Path, source: Callable, dtype: str):
    images = pixels(dtype)
    dataset = prepare(images=source(tmp_path, images), dtype=dtype)
    np.testing.assert_array_equal(dataset.images(), first(images))
    assert dataset.info.channels == CHANNELS and dataset.info.dtype == dtype
    assert not (dataset.root / "skipped.csv").exists()


def test_a_prepared_folder_holds_its_pictures(prepare: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    dataset = prepare()
    for name in ("contact_sheet.png", "plate_layout.png"):
        with Image.open(dataset.root / name) as picture:
            assert min(picture.size) > 100
            assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 12])
def test_one_to_twelve_channels(prepare: Callable, tmp_path: Path, channels: int, dtype: str):
    images = pixels(dtype, channels)
    prepare = partial(prepare, dtype=dtype)
    names = [f"w{i}" for i in range(channels)]
    dataset = prepare(images=stack_npy(tmp_path, images), channels=names)
    np.testing.assert_array_equal(dataset.images(), first(images))
    if channels == 1:  # grey images need no axis for it
        dataset = prepare(images=stack_npy(tmp_path, images[..., 0]), channels=names, overwrite=True)
        np.testing.assert_array_equal(dataset.images(), first(images))
    with pytest.raises(ValueError, match="13 channels: an image has 1 to 12"):
        prepare(channels=[str(i) for i in range(13)])


def test_jpegs_are_read_though_they_lose_a_little(prepare: Callable, tmp_path: Path):
    smooth = np.linspace(0, 255, N * H * W * C).reshape(N, H, W, C).astype(np.uint8)
    for i, image in enumerate(smooth):
        (tmp_path / f"crop{i}.jpg").write_bytes(imagecodecs.jpeg_encode(image, level=98))
    images = prepare(images=FilePerCrop(str(tmp_path), "{file}.jpg")).images()
    assert np.abs(images.astype(int) - first(smooth)).max() <= 3


def test_channel_files_may_be_named_by_columns(prepare: Callable, tmp_path: Path):
    images = pixels()
    crop_npy(tmp_path, images[..., 0])
    source = FilePerChannel(str(tmp_path), "{channel}.npy", ["{file}", "{file}", "{file}"])
    np.testing.assert_array_equal(prepare(images=source).images()[:, 1], images[..., 0])


# what becomes of the table


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


# scaling, cropping, resizing


def test_percentiles_are_of_the_training_controls_only(prepare: Callable, tmp_path: Path):
    images = pixels("uint16")
    split = partial(split_by_values, test={"plate": ["001"]}, val={"well": ["A05"]})
    seen = first(images)[[0, 8]]  # controls of plate 000 but A05
    low, high = np.percentile(seen, [1, 99], axis=(0, 2, 3))
    dataset = prepare(images=stack_npy(tmp_path, images), scaling=Percentile(1, 99, headroom=1.0), split=split)
    assert dataset.info.scaling is not None
    np.testing.assert_allclose(dataset.info.scaling["low"], low)
    np.testing.assert_allclose(dataset.info.scaling["high"], high)
    expected = (first(images) - low[:, None, None]) / (high - low)[:, None, None]
    np.testing.assert_array_equal(dataset.images(), (expected.clip(0, 1) * 255).round())
    # what is judged does not change what is learned from
    images[12:] = 65535
    again = prepare(
        images=stack_npy(tmp_path, images), scaling=Percentile(1, 99, headroom=1.0), split=split, overwrite=True
    )
    assert again.info.scaling == dataset.info.scaling


def test_headroom_widens_the_range_upwards():
    controls = np.arange(100, 201, dtype=np.uint8).reshape(1, 1, 1, 101)
    np.testing.assert_allclose(Percentile(0, 100, headroom=1.5).limits(controls), [[100, 250]])
    with pytest.raises(ValueError, match="would clip"):
        Percentile(headroom=0.5)
    with pytest.raises(ValueError, match="low < high"):
        Percentile(99, 1)
    with pytest.raises(ValueError, match=r"channel\(s\) \[1\] are constant"):
        Percentile().limits(np.stack([controls[0], np.ones_like(controls[0])], 1))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_fixed_scaling_is_exact_and_clips(dtype: str):
    top = np.iinfo(dtype).max
    limits = Fixed([0, 0.0], [1, 10.0]).limits(np.zeros((1, 2, 1, 1)))
    images = np.array([[[[0.0, 1.0, 2.0]], [[-1.0, 5.0, 10.0]]]])
    np.testing.assert_array_equal(rescale(images, limits, dtype)[0, :, 0], [[0, top, top], [0, round(top / 2), top]])
    for wrong in (Fixed([0, 0], [1, 1]), Fixed(1, 0)):
        with pytest.raises(ValueError, match=r"one value each|low < high"):
            wrong.limits(np.zeros((1, 3, 1, 1)))


def test_floats_need_a_range(prepare: Callable, tmp_path: Path):
    source = stack_npy(tmp_path, (pixels() / 255).astype(np.float32))
    with pytest.raises(ValueError, match="range is unknown: give one"):
        prepare(images=source, scaling=Percentile())
    with pytest.raises(ValueError, match="float32 and shall be stored as uint8: choose a scaling"):
        prepare(images=source)
    np.testing.assert_array_equal(prepare(images=source, scaling=Fixed(0.0, 1.0)).images(), first(pixels()))


def test_crop_and_resize(prepare: Callable, tmp_path: Path):
    images = first(pixels())
    cropped = prepare(crop=8)
    np.testing.assert_array_equal(cropped.images(), images[:, :, 2:10, 2:10])
    both = prepare(crop=8, size=4, pixel_size_um=0.5, overwrite=True)
    expected = resize(images[5, :, 2:10, 2:10], (3, 4, 4), order=1, anti_aliasing=True, preserve_range=True)
    np.testing.assert_array_equal(both.images()[5], np.asarray(expected).round())
    assert both.info.pixel_size_um == 1.0 and both.info.image_shape == (3, 4, 4)
    with pytest.raises(ValueError, match="crop=13 is larger than the images, 12×12"):
        prepare(crop=13, overwrite=True)
    source = stack_npy(tmp_path, pixels()[:, :, :10])
    with pytest.raises(ValueError, match="would squeeze images of 12×10 pixels: give a crop"):
        prepare(images=source, size=8, overwrite=True)
    assert prepare(images=source, overwrite=True).info.image_shape == (3, 12, 10)


def test_sizes_and_channel_names_make_sense(prepare: Callable):
    for wrong in ({"crop": 0}, {"crop": -3}, {"size": 0}):
        with pytest.raises(ValueError, match="give pixels, 1 or more"):
            prepare(**wrong)
    with pytest.raises(ValueError, match="each needs a name of its own"):
        prepare(channels=("DAPI", "actin", "actin"))


# wrong tables


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
    "keep in no column": (screen(), {"keep": {"Plate": ["000"]}}, r"\['Plate'\] are not in the table"),
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


# wrong images


def damage_missing(folder: Path) -> str:
    (folder / "crop7.npy").unlink()
    return "crop7.npy is missing"


def damage_unreadable(folder: Path) -> str:
    (folder / "crop7.npy").write_bytes(b"no image")
    return "crop7.npy cannot be read"


def damage_pickled(folder: Path) -> str:
    np.save(folder / "crop7.npy", np.array([{}]), allow_pickle=True)
    return "crop7.npy cannot be read"


def damage_size(folder: Path) -> str:
    np.save(folder / "crop7.npy", pixels()[0, :, :5])
    return r"crop7.npy is uint8 \(3, 12, 5\), where crop0.npy is uint8 \(3, 12, 12\)"


def damage_dtype(folder: Path) -> str:
    np.save(folder / "crop7.npy", pixels("uint16")[0])
    return r"crop7.npy is uint16 \(3, 12, 12\), where crop0.npy is uint8"


def damage_channels(folder: Path) -> str:
    np.save(folder / "crop7.npy", pixels()[0, :, :, :2])
    return "crop7.npy has 2 channels, and 3 are named: DAPI, actin, tubulin"


DAMAGES = [damage_missing, damage_unreadable, damage_pickled, damage_size, damage_dtype, damage_channels]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_wrong_image_is_named_or_left_out_and_listed(prepare: Callable, tmp_path: Path, damage: Callable):
    source = crop_npy(tmp_path, pixels())
    message = damage(tmp_path)
    with pytest.raises(UnreadableImage, match=f"{message}.*on_error=skip"):
        prepare(images=source)
    assert not (tmp_path / "out").exists()
    dataset = prepare(images=source, on_error="skip")
    assert len(dataset) == N - 1 and "row-7" not in dataset.index["image_id"]
    np.testing.assert_array_equal(dataset.images(), np.delete(first(pixels()), 7, axis=0))
    skipped = pl.read_csv(dataset.root / "skipped.csv")
    assert skipped["image_id"].to_list() == ["row-7"] and "crop7.npy" in skipped["reason"][0]
    assert dataset.info.provenance is not None and dataset.info.provenance["skipped"] == 1


def test_one_odd_image_at_the_front_does_not_oust_all_others(prepare: Callable, tmp_path: Path):
    source = crop_npy(tmp_path, pixels())
    np.save(tmp_path / "crop0.npy", pixels()[0, :, :5])
    with pytest.raises(UnreadableImage, match=r"crop0.npy is uint8 \(3, 12, 5\), where crop1.npy is"):
        prepare(images=source)
    dataset = prepare(images=source, on_error="skip")
    assert len(dataset) == N - 1 and "row-0" not in dataset.index["image_id"]


def test_leaving_out_all_controls_of_a_batch_is_an_error(prepare: Callable, tmp_path: Path):
    source = crop_npy(tmp_path, pixels())
    batch = screen().with_row_index("_n").filter((pl.col("plate") == "001") & (pl.col("compound") == "DMSO"))["_n"]
    for number in batch:
        (tmp_path / f"crop{number}.npy").unlink()
    message = rf"{len(batch)} images were left out, .*crop{batch[0]}.npy is missing.*no control images in batch"
    with pytest.raises(InvalidIndex, match=message):
        prepare(images=source, columns=COLUMNS | {"batch": "plate"}, on_error="skip")
    assert not (tmp_path / "out").exists()


def test_a_broken_file_of_every_kind_is_named(prepare: Callable, tmp_path: Path):
    for suffix in ("tif", "png", "jpg", "npy", "xyz"):
        (tmp_path / f"all.{suffix}").write_bytes(b"no image")
        with pytest.raises(UnreadableImage, match=f"all.{suffix} (cannot be read|is of an unknown kind)"):
            prepare(images=FilePerCrop(str(tmp_path), f"all.{suffix}"))
    with pytest.raises(UnreadableImage, match=r"none of 24 images .* can be read: the image .*all.npy"):
        prepare(images=FilePerCrop(str(tmp_path), "all.npy"), on_error="skip")


def test_a_stack_that_is_too_short_missing_or_garbled(prepare: Callable, tmp_path: Path):
    with pytest.raises(UnreadableImage, match=r"a.npy\[10\] does not exist: the stack has 10 images"):
        prepare(images=stack_npy(tmp_path, pixels()[:10]))
    with pytest.raises(FileNotFoundError, match="there is no image stack"):
        prepare(images=Stack(str(tmp_path / "nowhere.npy")))
    stack_npz(tmp_path, pixels())
    with pytest.raises(ValueError, match=r"no array 'imgs' in it; it has \['other', 'images'\]"):
        prepare(images=Stack(str(tmp_path / "a.npz"), key="imgs"))
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"a.npz cannot be read"):
        prepare(images=Stack(str(tmp_path / "a.npz")))


def test_a_pattern_that_cannot_be_filled_is_explained(prepare: Callable, tmp_path: Path):
    with pytest.raises(ValueError, match=r"names 'wells', which is no column of the table. There are"):
        prepare(images=FilePerCrop(str(tmp_path), "{wells}.npy"))
    with pytest.raises(ValueError, match="cannot be filled"):
        prepare(images=FilePerCrop(str(tmp_path), "{well:02d}.npy"))


def test_a_pattern_without_the_channel_would_read_one_file_for_all(tmp_path: Path):
    with pytest.raises(ValueError, match=r"pattern '\{well\}.tif' lacks \{channel\}"):
        FilePerChannel(str(tmp_path), "{well}.tif", ["1", "2"])
    FilePerChannel(str(tmp_path), "{well}_w{channel:02d}.tif", ["1", "2"])


def test_channels_that_are_not_alike_are_named(prepare: Callable, tmp_path: Path):
    source = channel_tif(tmp_path, pixels())
    tifffile.imwrite(tmp_path / "000" / "A03_s01_w2.tif", pixels()[0, :5, :, 0])
    with pytest.raises(UnreadableImage, match=r"A03_s01_w2.tif is uint8 \(5, 12\), where A03_s01_w1.tif is"):
        prepare(images=source)


def test_interrupted_reading_leaves_what_was_there(prepare: Callable, tmp_path: Path):
    prepare()
    before = (tmp_path / "out" / "dataset.json").read_bytes()

    class Interrupted(Stack):
        def read(self, row: dict[str, Any]) -> np.ndarray:
            if row["_number"] == 20:
                raise KeyboardInterrupt
            return super().read(row)

    with pytest.raises(KeyboardInterrupt):
        prepare(images=Interrupted(str(tmp_path / "stack.npy")), overwrite=True)
    assert (tmp_path / "out" / "dataset.json").read_bytes() == before
    assert not list(tmp_path.glob(".out*"))
    with pytest.raises(FileExistsError, match="exists already"):
        prepare()
