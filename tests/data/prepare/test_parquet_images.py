"""Images in the rows of parquet files are found by their keys, whatever row group they lie in."""

from pathlib import Path

import imagecodecs
import numpy as np
import polars as pl
import pytest

from virtassay.data.prepare.parquet_images import ParquetImages
from virtassay.data.prepare.sources import UnreadableImage


def planes(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (n, 8, 8)).astype(np.uint8)


def written(path: Path, keys: list[str], images: np.ndarray) -> str:
    encoded = [imagecodecs.jpeg2k_encode(image, level=0, reversible=True) for image in images]
    pl.DataFrame({"__key__": keys, "jp2": encoded}).write_parquet(path, row_group_size=2)
    return str(path)


def test_channels_come_from_any_file_and_row_group(tmp_path: Path):
    images = planes(6)
    files = [
        written(tmp_path / "a.parquet", ["B_2", "A_1", "C_1", "C_2"], images[:4]),
        written(tmp_path / "b.parquet", ["A_2", "B_1"], images[4:]),
    ]
    source = ParquetImages(files, "{well}_{channel}", ["1", "2"])
    for well, rows in (("A", [1, 4]), ("B", [5, 0]), ("C", [2, 3])):
        assert np.array_equal(source.read({"well": well}), images[rows])
    assert source.absent(pl.Series(["A_1", "D_1"])).to_list() == [False, True]
    with pytest.raises(UnreadableImage, match="the image D_1 is in none of 2 parquet files"):
        source.read({"well": "D"})


def test_channels_of_other_sizes_are_refused(tmp_path: Path):
    path = written(tmp_path / "a.parquet", ["A_1"], planes(1))
    other = written(tmp_path / "b.parquet", ["A_2"], planes(1)[:, :4])
    source = ParquetImages([path, other], "{well}_{channel}", ["1", "2"])
    with pytest.raises(UnreadableImage, match=r"A_2 is uint8 \(4, 8\), where A_1 is uint8 \(8, 8\): the channels"):
        source.read({"well": "A"})


def test_files_without_the_columns_are_named(tmp_path: Path):
    pl.DataFrame({"key": ["a"]}).write_parquet(tmp_path / "other.parquet")
    source = ParquetImages([str(tmp_path / "other.parquet")], "{well}_{channel}", ["1"])
    with pytest.raises(UnreadableImage, match=r"lacks column\(s\) \['__key__', 'jp2'\]; it has \['key'\]"):
        source.read({"well": "A"})
