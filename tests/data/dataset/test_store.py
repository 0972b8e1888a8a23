"""The dataset folder: what is written is what is read, whole or not at all."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.data.dataset.toy import INFO, N, pixels, rows
from virtassay.data.dataset import store
from virtassay.data.dataset.store import Dataset, DatasetInfo, DatasetWriter, open_dataset, write_dataset
from virtassay.schema import InvalidIndex


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shard_images", [1, 3, 100])
def test_images_and_index_come_back(tmp_path: Path, dtype: str, shard_images: int):
    info = DatasetInfo("toy", INFO.channels, INFO.image_shape, dtype)
    images = pixels(dtype)
    with DatasetWriter(tmp_path / "toy", info, shard_bytes=shard_images * images[0].nbytes) as writer:
        for start in range(0, N, 4):
            writer.append(images[start : start + 4], rows()[start : start + 4])
    dataset = open_dataset(tmp_path / "toy")
    assert len(dataset) == N
    assert len(dataset.maps) == -(-N // shard_images)
    later, control = dataset.shard > 0, dataset.index["is_control"].to_numpy()
    assert not set(dataset.shard[later & control]) & set(dataset.shard[later & ~control]), "controls are by themselves"
    assert dataset.info == info
    np.testing.assert_array_equal(dataset.images(), images)
    order = np.array([7, 0, 7, 3])
    np.testing.assert_array_equal(dataset.images(order), images[order])
    assert dataset.images(order).dtype == dtype
    assert dataset.index["anything"].to_list() == list(range(N))
    assert dataset.index["treatment"].unique().sort().to_list() == ["DMSO", "taxol 0.3 µM"]
    np.testing.assert_array_equal(dataset.images(np.arange(N) % 3 == 0), images[::3])  # a mask will do as well
    treated = dataset.where(~pl.col("is_control"))
    np.testing.assert_array_equal(treated.images(), images[~rows()["is_control"].to_numpy()])


def test_vectors_come_back_to_the_bit_and_must_be_finite(tmp_path: Path):
    info = DatasetInfo("toy", ("area", "texture"), (2, 3, 1), "float32")
    vectors = np.random.default_rng(0).normal(0, 1e6, (N, 2, 3, 1)).astype(np.float32)
    with DatasetWriter(tmp_path / "toy", info, shard_bytes=4 * 24) as writer:
        writer.append(vectors, rows())
    dataset = open_dataset(tmp_path / "toy")
    assert len(dataset.maps) == 3 and dataset.info == info
    np.testing.assert_array_equal(dataset.images(), vectors)
    assert dataset.images().dtype == np.float32
    for bad in (np.nan, np.inf):
        vectors[[4, 7], 1, 2] = bad
        with pytest.raises(ValueError, match=r"2 images hold values that are not finite, first \['image4', 'image7'\]"):
            write_dataset(tmp_path / "bad", info, vectors, rows())
    assert leftovers(tmp_path) == ["toy"]
    with pytest.raises(ValueError, match=r"stored as one of .*float64"):
        DatasetInfo("toy", ("area", "texture"), (2, 3, 1), "float64")


def test_the_index_is_written_without_lists_unless_a_well_holds_a_combination(root: Path, tmp_path: Path):
    assert pl.read_parquet(root / "index.parquet").schema["perturbation"] == pl.String
    both = rows().with_columns(
        perturbation=pl.Series([["taxol", "nocodazole"]] * N), dose_um=pl.Series([[0.3, 1.0]] * N)
    )
    write_dataset(tmp_path / "both", INFO, pixels(), both)
    assert open_dataset(tmp_path / "both").index["treatment"][0] == "nocodazole 1 µM + taxol 0.3 µM"


def test_a_split_that_is_not_there_names_those_that_are(root: Path):
    assert len(open_dataset(root).split("train")) == N
    with pytest.raises(ValueError, match=r"no images in split 'test'; there are \['train'\]"):
        open_dataset(root).split("test")


def test_an_existing_folder_is_replaced_only_when_asked(root: Path):
    with pytest.raises(FileExistsError, match="overwrite=true"):
        write_dataset(root, INFO, pixels(), rows())
    write_dataset(root, INFO, pixels()[:4], rows(4), overwrite=True)
    assert len(open_dataset(root)) == 4
    assert leftovers(root.parent) == ["toy"]


def test_a_folder_that_is_no_dataset_is_never_replaced(tmp_path: Path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="no dataset folder"):
        write_dataset(tmp_path / "home", INFO, pixels(), rows(), overwrite=True)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "precious"


def test_images_that_do_not_fit_are_refused(tmp_path: Path):
    for images, table in [(pixels()[:, :, :5], rows()), (pixels("uint16"), rows()), (pixels(), rows(9))]:
        with pytest.raises(ValueError, match=r"do not fit|came with"):
            write_dataset(tmp_path / "toy", INFO, images, table)
    with pytest.raises(InvalidIndex, match="no images"), DatasetWriter(tmp_path / "toy", INFO):
        pass
    with pytest.raises(InvalidIndex, match="'image_id' repeats"):
        write_dataset(tmp_path / "toy", INFO, pixels(), rows().with_columns(image_id=pl.lit("same")))
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_whatever_stops_the_writing_nothing_is_left_and_nothing_is_lost(root: Path, error: type[BaseException]):
    with pytest.raises(error), DatasetWriter(root, INFO, overwrite=True) as writer:
        writer.append(pixels()[:4], rows(4))
        raise error
    assert leftovers(root.parent) == ["toy"]
    assert len(open_dataset(root)) == N


@pytest.mark.parametrize(
    ("owner", "function"), [(DatasetWriter, "_finish"), (store, "replace_folder"), (DatasetWriter, "_close_shard")]
)
def test_a_full_disk_at_the_end_is_explained_and_nothing_is_lost(
    root: Path, monkeypatch: pytest.MonkeyPatch, owner: object, function: str
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(owner, function, full)
    with pytest.raises(OSError, match=r"toy failed: No space left on device. Nothing was left behind") as caught:
        write_dataset(root, INFO, pixels(), rows(), overwrite=True)
    assert caught.value.errno == errno.ENOSPC
    assert leftovers(root.parent) == ["toy"]
    assert len(open_dataset(root)) == N


def test_a_failed_last_rename_puts_the_old_folder_back(root: Path, monkeypatch: pytest.MonkeyPatch):
    real = os.rename

    def rename(a: Path, b: Path) -> None:
        if Path(a).name.startswith(".toy.partial") and Path(b) == root and not Path(a).name.endswith("-old"):
            raise KeyboardInterrupt
        real(a, b)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(root, INFO, pixels(), rows(), overwrite=True)
    assert leftovers(root.parent) == ["toy"]
    assert len(open_dataset(root)) == N


FULL_DISK = """
import resource, sys
from pathlib import Path
import polars as pl
sys.path.insert(0, {repo!r})
from tests.data.dataset.toy import INFO, pixels, rows
from virtassay.data.dataset.store import DatasetWriter
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
with DatasetWriter(Path({root!r}), INFO, overwrite=True) as writer:
    for _ in range({times}):
        writer.append(pixels(), rows().with_columns(image_id=pl.col("image_id") + f"-{{_}}"))
"""


@pytest.mark.parametrize(("limit", "times"), [(200_000, 2000), (3_000, 1)])
def test_a_disk_that_is_really_full_leaves_nothing_and_loses_nothing(root: Path, repo: Path, limit: int, times: int):
    # the first limit stops the pixels, the second the index, which is larger than they are
    script = FULL_DISK.format(repo=str(repo), root=str(root), limit=limit, times=times)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=repo, check=False)
    assert done.returncode == 1
    assert "Nothing was left behind" in done.stderr
    assert leftovers(root.parent) == ["toy"]
    assert len(open_dataset(root)) == N


def test_what_is_appended_can_be_looked_at_before_it_is_finished(tmp_path: Path):
    with DatasetWriter(tmp_path / "toy", INFO, shard_bytes=3 * 60) as writer:
        writer.append(pixels()[:5], rows(5))
        seen: Dataset = writer.preview()
        np.testing.assert_array_equal(seen.images(), pixels()[:5])
        assert "treatment" in seen.index.columns
        writer.append(pixels()[5:], rows()[5:])
        (writer.folder / "note.txt").write_text("travels along")
    np.testing.assert_array_equal(open_dataset(tmp_path / "toy").images(), pixels())
    assert (tmp_path / "toy" / "note.txt").exists()
