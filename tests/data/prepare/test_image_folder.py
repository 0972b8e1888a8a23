"""Folders of images that other tools wrote: opened as they are, or refused with the reason."""

import numpy as np
import polars as pl
import pytest
import tifffile
from PIL import Image

from virtassay.data.dataset.store import DatasetInfo
from virtassay.data.prepare.image_folder import open_image_folder
from virtassay.data.prepare.sources import UnreadableImage

SIZE = 8
LIKE = DatasetInfo("real", ("dna", "er", "actin"), (3, SIZE, SIZE), "uint8")


def pixels(n, size=SIZE, dtype="uint8"):
    return np.random.default_rng(0).integers(0, 200, (n, size, size, 3)).astype(dtype)


def table(n, **columns):
    perturbation = ["taxol", "nocodazole"] * (n // 2)
    return pl.DataFrame({"batch": "week1", "perturbation": perturbation, "dose_um": [3.0, 0.1] * (n // 2), **columns})


def write(folder, images, ending=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        path = folder / f"cell{i}{ending}"
        if ending == ".npy":
            np.save(path, image)
        elif ending == ".tif":
            tifffile.imwrite(path, image, photometric="rgb")
        else:
            Image.fromarray(image).save(path)
    return [f"cell{i}" for i in range(len(images))]


@pytest.mark.parametrize("ending", [".png", ".tif", ".npy"])
def test_generated_images_named_by_a_table_are_opened_as_they_are(tmp_path, ending):
    images = pixels(4)
    ids = write(tmp_path / "theirs", images, ending)
    table(4, image_id=ids, tool=["x"] * 4).write_csv(tmp_path / "theirs" / "index.csv")
    opened = open_image_folder(tmp_path / "theirs", tmp_path, like=LIKE)
    assert np.array_equal(opened.images(), images.transpose(0, 3, 1, 2))
    assert opened.info.channels == LIKE.channels and opened.info.name == "theirs"
    assert opened.index["treatment"].to_list() == ["taxol 3 µM", "nocodazole 0.1 µM"] * 2
    assert opened.index["tool"].to_list() == ["x"] * 4
    assert not opened.index["is_control"].any() and set(opened.index["split"]) == {"generated"}


def test_files_may_lie_in_folders_and_have_another_size(tmp_path):
    write(tmp_path / "theirs" / "taxol", pixels(2, size=2 * SIZE))
    names = ["taxol/cell0.png", "taxol/cell1.png"]
    table(2, source_file=names).write_parquet(tmp_path / "theirs" / "made.parquet")
    opened = open_image_folder(tmp_path / "theirs", tmp_path, like=LIKE)
    assert opened.info.image_shape == LIKE.image_shape
    assert opened.images().mean() == pytest.approx(pixels(2, size=2 * SIZE).mean(), abs=1)


def test_real_images_are_all_of_the_test_split_unless_the_table_says(tmp_path):
    ids = write(tmp_path / "real", pixels(4))
    known = table(4, image_id=ids, plate="p", well=["A1", "A2"] * 2, is_control=[False, True] * 2)
    known.write_csv(tmp_path / "real" / "index.csv")
    opened = open_image_folder(tmp_path / "real", tmp_path)
    assert opened.info.channels == ("channel 1", "channel 2", "channel 3")
    assert set(opened.index["split"]) == {"test"} and opened.index["is_control"].sum() == 2
    known.with_columns(split=pl.Series(["train", "train", "test", "test"])).write_csv(tmp_path / "real" / "index.csv")
    assert open_image_folder(tmp_path / "real", tmp_path).index["split"].to_list() == ["train", "train", "test", "test"]


def test_what_is_missing_is_said(tmp_path):
    folder = tmp_path / "theirs"
    ids = write(folder, pixels(2))

    def refused(match, error: type[Exception] = ValueError, like: DatasetInfo | None = LIKE, **columns):
        table(2, **columns).write_csv(folder / "index.csv")
        with pytest.raises(error, match=match):
            open_image_folder(folder, tmp_path, like=like)

    with pytest.raises(ValueError, match=r"no dataset\.json.*it has none"):
        open_image_folder(folder, tmp_path, like=LIKE)
    with pytest.raises(FileNotFoundError, match="no dataset folder"):
        open_image_folder(tmp_path / "nowhere", tmp_path)
    refused("needs a row for each image, and a column source_file or image_id")
    refused("no such file", FileNotFoundError, image_id=["other0", "other1"])
    refused("outside its folder, first '../cell0.png': refused", source_file=["cell1.png", "../cell0.png"])
    refused("nothing is given for .*well", like=None, image_id=ids)
    refused(r"'batch'.*empty at row 1", image_id=ids, batch=["week1", None])
    refused("cell7.png is missing", UnreadableImage, image_id=["cell0", "cell7"])
    (folder / "more.csv").write_text("a\n1\n")
    refused(r"it has \['index.csv', 'more.csv'\]", image_id=ids)


def test_images_that_do_not_fit_the_real_ones_are_refused(tmp_path):
    for name, images, like, match in (
        ("grey", pixels(2)[..., 0], LIKE, "1 channels, the real ones 3: dna, er, actin"),
        ("deep", pixels(2, dtype="uint16"), LIKE, "are uint16, the real ones uint8"),
        ("floats", pixels(2, dtype="float32") / 255, None, "are float32; write them with 8 or 16 bits"),
    ):
        ids = write(tmp_path / name, images, ".npy")
        table(2, image_id=ids).write_csv(tmp_path / name / "index.csv")
        with pytest.raises(ValueError, match=match):
            open_image_folder(tmp_path / name, tmp_path, like=like)
