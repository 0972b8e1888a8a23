"""Several dataset folders read as one: their images may show other channels, so a minibatch comes from one of them.

A model that reads and paints any channels (network=channel_dit_*) learns from all of them. What two folders call by the
same name is the same to it: a perturbation, a channel, a cell type. A batch is of one folder, and so are its controls.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from virtassay.data.dataset.rows import OWN, Rows
from virtassay.data.dataset.store import CACHE_BYTES, Dataset, DatasetInfo, open_dataset

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JoinedDataset:
    """Open dataset folders, or some rows of them, under one index; as a Dataset, but images are read of one at a time.

    `info` describes them together: its channels are all that some folder has, each named once, in the order of the
    folders. In the index, `folder` is the number of a row's folder and `place` the row in that folder's own index;
    `image_id` begins with the folder's path.
    """

    root: Path  # the folders' paths, joined by commas: how errors call them
    info: DatasetInfo
    rows: Rows
    folders: tuple[Dataset, ...]

    @classmethod
    def of(cls, folders: Sequence[Dataset]) -> Self:
        """Join open folders. Raises ValueError naming those of another image size or dtype, or that share a batch."""
        _require_alike(folders)
        _require_own_batches(folders)
        infos, root = [folder.info for folder in folders], Path(",".join(str(folder.root) for folder in folders))
        channels = tuple(dict.fromkeys(name for info in infos for name in info.channels))
        pixel_sizes = {info.pixel_size_um for info in infos}
        if len(pixel_sizes) > 1:
            log.warning("%s: pixels are of %s µm, which the model knows by the batch alone", root, pixel_sizes)
        info = DatasetInfo(
            name=",".join(info.name for info in infos),
            channels=channels,
            image_shape=(len(channels), *infos[0].image_shape[1:]),
            dtype=infos[0].dtype,
            pixel_size_um=infos[0].pixel_size_um if len(pixel_sizes) == 1 else None,
            scaling=infos[0].scaling if all(info.scaling == infos[0].scaling for info in infos) else None,
        )
        rows = Rows.joined([_numbered(folder, number) for number, folder in enumerate(folders)])
        return cls(root, info, rows, tuple(folders))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def index(self) -> pl.DataFrame:
        """The index as a table, which is made when it is first read; `rows` reads single columns of it."""
        return self.rows.table

    @property
    def folder(self) -> np.ndarray:
        """The number of the folder of each row, (n,)."""
        return self.rows.select("folder")["folder"].to_numpy()

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Gather the images of `rows`, all of one folder: (n, c, h, w) in its channels; raises ValueError otherwise."""
        return self._folder_of(rows).images(self.rows.own["place"].to_numpy()[rows])

    def channel_numbers(self, rows: np.ndarray) -> np.ndarray:
        """Return which of `info.channels` the images of `rows` show, (c,), in the order of their channels."""
        return np.array([self.info.channels.index(name) for name in self._folder_of(rows).info.channels])

    def _folder_of(self, rows: np.ndarray) -> Dataset:
        numbers = np.unique(self.folder[rows])
        if len(numbers) != 1:
            raise ValueError(f"images are read of one folder at a time, and these rows are of {numbers.tolist()}.")
        return self.folders[numbers[0]]

    def where(self, mask: pl.Expr | pl.Series) -> Self:
        """Return the same folders with the rows that `mask` keeps."""
        return replace(self, rows=self.rows.where(mask))

    def split(self, name: str) -> Self:
        """Return the rows of one split; raises ValueError naming a folder that has none."""
        for folder in self.folders:
            folder.split(name)
        return self.where(pl.col("split") == name)

    def by_folder(self) -> list[Dataset]:
        """Return the rows that are left of each folder, as datasets of their own; none where there are no rows."""
        number, place = self.folder, self.rows.own["place"].to_numpy()
        left = [(folder, place[number == n]) for n, folder in enumerate(self.folders)]
        return [replace(folder, rows=folder.rows.take(rows)) for folder, rows in left if len(rows)]


def open_images(
    folder: str | Path | Sequence[str | Path], verify: bool = True, cache_bytes: int = CACHE_BYTES
) -> Dataset | JoinedDataset:
    """Open a dataset folder, or several as one. Raises as open_dataset and JoinedDataset.of."""
    folders = [folder] if isinstance(folder, str | Path) else list(folder)
    if not folders:
        raise ValueError("loader.folder=[] names no dataset folder: give one, or a list of them.")
    parts = [open_dataset(root, verify, cache_bytes) for root in folders]
    return parts[0] if len(parts) == 1 else JoinedDataset.of(parts)


def _numbered(dataset: Dataset, number: int) -> Rows:
    """Return the columns that training reads, with the folder's number and the row in it."""
    rows, path = dataset.rows, pl.lit(str(dataset.root))
    own = rows.own.select(name for name in OWN if name in rows.own.columns).with_columns(
        image_id=pl.format("{}/{}", path, "image_id"), place=pl.int_range(pl.len())
    )
    shared = rows.shared.with_columns(folder=pl.lit(number))
    return Rows(shared, rows.number, own, (*shared.columns, *own.columns))


def _require_alike(parts: Sequence[Dataset]) -> None:
    kinds = {part.root: f"{part.info.image_shape[1:]} {part.info.dtype}" for part in parts}
    if len(set(kinds.values())) > 1:
        raise ValueError(
            "dataset folders that are trained on together need images of one height, width and dtype, and these "
            f"differ: {', '.join(f'{root} has {kind}' for root, kind in kinds.items())}. Prepare them with the same "
            "data.prepare.size and dtype."
        )


def _require_own_batches(parts: Sequence[Dataset]) -> None:
    owner: dict[str, Path] = {}
    for part in parts:
        batches = part.rows.shared["batch"].unique().to_list()
        shared = sorted(owner.keys() & batches)
        if shared:
            raise ValueError(
                f"{owner[shared[0]]} and {part.root} both have batch(es) {shared[:5]}: a batch is of one folder, whose "
                "controls it is compared with. Prepare one of them with other names, e.g. "
                "'+data.prepare.columns={batch: \"second-{batch}\"}'."
            )
        owner |= dict.fromkeys(batches, part.root)
