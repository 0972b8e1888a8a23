"""Where the cells are by somebody else's segmentation: label images, outlines, or a table of centres."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from scipy import ndimage

from virtassay.data.prepare.fields.find import Field, centres
from virtassay.data.prepare.sources import UnreadableImage, fill, read_file
from virtassay.schema import InvalidIndex


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
        return self._xy[start : start + n]

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
        return (
            table.filter(pl.col(self.x).is_finite() & pl.col(self.y).is_finite()).sort(*self.match.values()).collect()
        )

    @cached_property
    def _xy(self) -> np.ndarray:
        return self._sorted.select(self.x, self.y).to_numpy()

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
