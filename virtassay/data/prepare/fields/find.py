"""Where the cells of a whole field are: nuclei found in it, a grid of tiles, or somebody else's segmentation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import polars as pl
import torch
from scipy import ndimage

from virtassay.data.prepare.fields.nuclei import dna_channel, foreground, label_nuclei
from virtassay.data.prepare.sources import UnreadableImage, fill, read_file
from virtassay.schema import InvalidIndex


@dataclass(frozen=True)
class Field:
    """One whole field: its image (c, h, w), corrected for illumination, and what is known of it."""

    image: np.ndarray
    name: str  # in errors
    row: dict[str, Any]  # of the table
    channels: tuple[str, ...]
    pixel_size_um: float | None
    crop: int  # edge of the crops that will be cut, in pixels


@runtime_checkable
class Finder(Protocol):
    """Find what crops are centred on: (n, 2) x and y in pixels, the centre of the first pixel being 0, 0."""

    def find(self, field: Field) -> np.ndarray: ...


@dataclass(frozen=True)
class Nuclei:
    """The centres of mass of nuclei: Gaussian blur of 1 pixel, Otsu's threshold, watershed on the distance transform.

    channel: the one that shows nuclei; None: the one whose name says so (DNA, DAPI, Hoechst …). Give the usual diameter
    of a nucleus in µm, for which the pixel size must be known, or in pixels. Raises ValueError for both, neither, an
    unknown channel or pixel size. Source: Carpenter et al. 2006 (CellProfiler); see `fields.nuclei`.
    """

    diameter_um: float | None = None
    diameter_px: float | None = None
    channel: str | None = None

    def __post_init__(self) -> None:
        if (self.diameter_um is None) == (self.diameter_px is None):
            raise ValueError(
                f"diameter_um={self.diameter_um}, diameter_px={self.diameter_px}: give one of them, the usual diameter "
                "of a nucleus (10 to 20 µm in cultured cells)."
            )

    def find(self, field: Field) -> np.ndarray:
        if self.channel is not None and self.channel not in field.channels:
            raise ValueError(f"channel={self.channel!r} of the nuclei is not one of {list(field.channels)}.")
        number = dna_channel(field.channels) if self.channel is None else field.channels.index(self.channel)
        dna = field.image[number].astype(np.float64)
        smooth = ndimage.gaussian_filter(dna, 1.0, mode="nearest", truncate=3)
        mask = foreground(torch.as_tensor(smooth)[None]).numpy()
        return centres(label_nuclei(mask, self.pixels(field.pixel_size_um))[0])

    def pixels(self, pixel_size_um: float | None) -> float:
        """Return the diameter in pixels."""
        if self.diameter_px is not None:
            diameter = self.diameter_px
        elif pixel_size_um is None:
            raise ValueError(
                f"diameter_um={self.diameter_um} needs pixel_size_um; set it, or give diameter_px instead."
            )
        else:
            diameter = (self.diameter_um or 0.0) / pixel_size_um
        if diameter < 3:
            raise ValueError(f"a nuclear diameter of {diameter:.2g} pixels is too small to find; 3 is the least.")
        return diameter


@dataclass(frozen=True)
class Tiles:
    """A grid of crops side by side that covers the middle of the field: no detection, so a tile holds what it holds."""

    def find(self, field: Field) -> np.ndarray:
        height, width = field.image.shape[1:]
        x, y = (_middles(edge, field.crop) for edge in (width, height))
        return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)


@dataclass(frozen=True)
class LabelMasks:
    """Label images, 0 background and a number an object, as Cellpose writes (…_cp_masks.tif or .png), and CellProfiler.

    pattern: of a field's file in `folder`, from columns of the table: "{plate}_{well}_s{site}_cp_masks.tif". Raises
    UnreadableImage for a mask that is missing, not grey or of another size than its field.
    """

    folder: str
    pattern: str

    def find(self, field: Field) -> np.ndarray:
        return centres(_read(Path(self.folder) / fill(self.pattern, field.row), field))


@dataclass(frozen=True)
class OutlineMasks:
    """Images of outlines on a black ground, as CellProfiler's SaveImages writes them: objects are what they enclose.

    An object that the edge of the field leaves open is not enclosed and is left out; nor can a gap between touching
    objects be told from an object: give label images where there are any. Raises as LabelMasks.
    """

    folder: str
    pattern: str

    def find(self, field: Field) -> np.ndarray:
        outlines = _read(Path(self.folder) / fill(self.pattern, field.row), field) > 0
        regions, _ = ndimage.label(~outlines)  # pyright: ignore[reportGeneralTypeIssues]
        edge = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
        return centres(np.where(np.isin(regions, edge), 0, regions))


@dataclass(frozen=True)
class Centres:
    """A table of objects, a row each, such as CellProfiler's Nuclei.csv (csv, tsv or parquet).

    match: {column of the screen's table: column of this one} that together name the field, compared as text. x, y:
    columns of the centres, in pixels. Raises FileNotFoundError or InvalidIndex naming the columns that are missing.
    """

    table: str
    match: Mapping[str, str] = field(
        default_factory=lambda: {"plate": "Metadata_Plate", "well": "Metadata_Well", "site": "Metadata_Site"}
    )
    x: str = "Location_Center_X"
    y: str = "Location_Center_Y"

    def find(self, field: Field) -> np.ndarray:
        missing = sorted(set(self.match) - set(field.row))
        if missing:
            raise InvalidIndex(
                f"match names {missing}, no columns of the screen's table; there are {sorted(field.row)}."
            )
        start, n = self._places.get(tuple(str(field.row[name]) for name in self.match), (0, 0))
        return self._sorted[start : start + n].select(self.x, self.y).to_numpy()

    @cached_property
    def _sorted(self) -> pl.DataFrame:
        path, columns = Path(self.table), [*self.match.values(), self.x, self.y]
        if not path.is_file():
            raise FileNotFoundError(f"there is no table of centres {path}.")
        if path.suffix == ".parquet":
            table = pl.scan_parquet(path)
        else:  # names are text: plate 007 stays 007
            table = pl.scan_csv(path, separator="\t" if path.suffix in (".tsv", ".txt") else ",", infer_schema=False)
        present = table.collect_schema().names()
        missing = [name for name in columns if name not in present]
        if missing:
            raise InvalidIndex(f"{path}: column(s) {missing} are missing; there are {present[:20]}.")
        names = [pl.col(name).cast(pl.String) for name in self.match.values()]
        table = table.select(*names, *(pl.col(name).cast(pl.Float64, strict=False) for name in (self.x, self.y)))
        return table.filter(pl.all_horizontal(pl.col(self.x, self.y).is_finite())).sort(*self.match.values()).collect()

    @cached_property
    def _places(self) -> dict[tuple[str, ...], tuple[int, int]]:
        runs = self._sorted.with_row_index("_row").group_by(*self.match.values(), maintain_order=True)
        return {tuple(key): (start, n) for *key, start, n in runs.agg(pl.col("_row").first(), pl.len()).iter_rows()}


def _read(path: Path, field: Field) -> np.ndarray:
    mask = read_file(path)
    if mask.shape != field.image.shape[1:]:
        raise UnreadableImage(
            f"the mask {path} is {mask.shape}, where the field {field.name} is {field.image.shape[1:]}: masks are grey "
            "and of their field's size."
        )
    return mask


def _middles(edge: int, crop: int) -> np.ndarray:
    return edge % crop // 2 + crop * np.arange(edge // crop) + (crop - 1) / 2


def centres(labels: np.ndarray) -> np.ndarray:
    """Return the centre of mass (n, 2), x and y in pixels, of each object of labels (h, w); 0 is background."""
    y, x = np.nonzero(labels)
    _, object_of = np.unique(labels[y, x], return_inverse=True)
    area = np.bincount(object_of)
    return np.stack([np.bincount(object_of, place) / area for place in (x, y)], 1)
