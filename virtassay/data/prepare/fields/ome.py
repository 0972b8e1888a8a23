"""Images that say themselves what they are: OME-TIFF files and OME-Zarr plates."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import tifffile

from virtassay.data.prepare.sources import UnreadableImage, fill

MICROMETRES = {"µm": 1.0, "μm": 1.0, "um": 1.0, "micrometer": 1.0, "micron": 1.0}
MICROMETRES |= {"nm": 1e-3, "nanometer": 1e-3, "mm": 1e3, "millimeter": 1e3}


@dataclass(frozen=True)
class OmeTiff:
    """One OME-TIFF a field, (c, h, w), named by a `pattern` of columns of the table; a single plane and time point.

    Raises UnreadableImage for a file that is missing, broken, not OME, or has several planes or time points.
    """

    folder: str
    pattern: str = "{source_file}"

    def read(self, row: dict[str, Any]) -> np.ndarray:
        with self._open(row) as file:
            try:
                axes, image = file.series[0].axes, file.series[0].asarray()
            except Exception as error:  # a truncated file fails in as many ways as there are compressions
                raise UnreadableImage(f"the image {file.filename} cannot be read: {error}.") from error
            return _channels_height_width(image, axes.replace("S", "C"), self.name(row))

    def describe(self, row: dict[str, Any]) -> tuple[tuple[str, ...] | None, float | None]:
        """Return the names of the channels and the pixel size in µm that the file's OME-XML gives."""
        with self._open(row) as file:
            ome = tifffile.xml2dict(file.ome_metadata or "")
        try:
            images = ome["OME"]["Image"]
            pixels = (images[0] if isinstance(images, list) else images)["Pixels"]
            channels = pixels.get("Channel", [])
        except (KeyError, TypeError, IndexError):
            raise UnreadableImage(f"{self.name(row)} has no OME-XML with Pixels: read it with FilePerCrop.") from None
        names = [channel.get("Name") for channel in (channels if isinstance(channels, list) else [channels])]
        size, unit = pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit", "µm")
        return _names(names), None if size is None else _micrometres(float(size), unit, self.name(row))

    def name(self, row: dict[str, Any]) -> str:
        return fill(self.pattern, row)

    def _open(self, row: dict[str, Any]) -> tifffile.TiffFile:
        path = Path(self.folder) / self.name(row)
        if not path.is_file():
            raise UnreadableImage(f"the image {path} is missing.")
        try:
            file = tifffile.TiffFile(path)
        except Exception as error:
            raise UnreadableImage(f"the image {path} cannot be read: {error}.") from error
        if not file.is_ome:
            file.close()
            raise UnreadableImage(f"{path} is no OME-TIFF (read it with FilePerCrop), or is cut short.")
        return file


@dataclass(frozen=True)
class OmeZarr:
    """One plate in the OME-Zarr layout (versions 0.4 and 0.5): a row's `well` and `site` name its field.

    site: the name of the field's folder in the well ("0", "1", …); the first where the table has no such column. Only
    the full resolution is read. Needs zarr: pip install 'virtassay[ome]'. Raises FileNotFoundError for a folder that is
    no plate and UnreadableImage for a field that is missing or damaged.
    """

    folder: str

    def fields(self) -> pl.DataFrame:
        """List the plate's fields: columns well (B03) and site."""
        listed = [(well, site) for well, path in self._wells.items() for site in _sites(self._attributes(path))]
        return pl.DataFrame(listed, schema={"well": pl.String, "site": pl.String}, orient="row")

    def read(self, row: dict[str, Any]) -> np.ndarray:
        path = self._path(row)
        image = _multiscale(self._attributes(path), self.name(row))
        try:
            array = self._root[f"{path}/{image['datasets'][0]['path']}"]
            pixels = np.asarray(array[...])
        except Exception as error:  # each codec and store has errors of its own
            raise UnreadableImage(f"{self.name(row)} cannot be read: {error}.") from error
        return _channels_height_width(pixels, "".join(axis["name"] for axis in image["axes"]).upper(), self.name(row))

    def describe(self, row: dict[str, Any]) -> tuple[tuple[str, ...] | None, float | None]:
        """Return the names of the channels and the pixel size in µm that the field's metadata give."""
        attributes = self._attributes(self._path(row))
        image = _multiscale(attributes, self.name(row))
        names = [channel.get("label") for channel in attributes.get("omero", {}).get("channels", [])]
        scale = [t["scale"] for t in image["datasets"][0]["coordinateTransformations"] if t["type"] == "scale"]
        unit = image["axes"][-1].get("unit")
        return _names(names), _micrometres(scale[0][-1], unit, self.name(row)) if scale and unit else None

    def name(self, row: dict[str, Any]) -> str:
        return f"{self.folder}: well {row.get('well')}, site {row.get('site')}"

    def _path(self, row: dict[str, Any]) -> str:
        well = self._wells.get(well_name(str(row["well"])))
        if well is None:
            raise UnreadableImage(f"{self.name(row)} is not in the plate, which has {sorted(self._wells)[:5]} ….")
        sites = _sites(self._attributes(well))
        site = sites[0] if row.get("site") is None and sites else str(row.get("site"))
        if site not in sites:
            raise UnreadableImage(f"{self.name(row)} is not in the plate; this well has the sites {sites}.")
        return f"{well}/{site}"

    @cached_property
    def _root(self) -> Any:
        try:
            import zarr
        except ImportError as error:
            raise ImportError("OME-Zarr needs zarr: pip install 'virtassay[ome]'.") from error
        if not Path(self.folder).is_dir():
            raise FileNotFoundError(f"there is no OME-Zarr plate {self.folder}.")
        try:
            return zarr.open_group(self.folder, mode="r")
        except Exception as error:
            raise FileNotFoundError(f"{self.folder} is no Zarr group: {error}.") from error

    @cached_property
    def _wells(self) -> dict[str, str]:
        plate = self._attributes("").get("plate")
        if plate is None:
            raise FileNotFoundError(f"{self.folder} is a Zarr group but no OME-Zarr plate: it has no 'plate' metadata.")
        return {well_name(well["path"].replace("/", "")): well["path"] for well in plate["wells"]}

    def _attributes(self, path: str) -> Mapping[str, Any]:
        try:
            attributes = dict((self._root[path] if path else self._root).attrs)
        except KeyError:
            raise UnreadableImage(f"{self.folder}: the group {path} is missing.") from None
        return attributes.get("ome", attributes)  # version 0.5 keeps them under "ome"


def well_name(well: str) -> str:
    """Write a well as B03, however it is written (b3, B-003, B/3); other names stay as they are."""
    letters = "".join(c for c in well if c.isalpha())
    digits = "".join(c for c in well if c.isdigit())
    return f"{letters.upper()}{int(digits):02d}" if letters and digits and well[0].isalpha() else well


def plate_table(folder: str, platemap: str | Path) -> pl.DataFrame:
    """Join the fields of the OME-Zarr plate `folder` with a platemap (csv, a row a well, column `well`): a row a field.

    Raises ValueError naming the wells that the platemap lacks, and those of it that have no images.
    """
    table = pl.read_csv(platemap, infer_schema_length=None, schema_overrides={"well": pl.String})
    if "well" not in table.columns:
        raise ValueError(f"{platemap} has no column 'well'; it has {table.columns}.")
    table = table.with_columns(pl.col("well").map_elements(well_name, pl.String))
    fields = OmeZarr(folder).fields()
    lacking = sorted(set(fields["well"]) - set(table["well"]))
    without = sorted(set(table["well"]) - set(fields["well"]))
    if lacking or without:
        raise ValueError(
            f"{platemap} and {folder} name other wells: {len(lacking)} with images but no row, first "
            f"{lacking[:5]}; {len(without)} with a row but no images, first {without[:5]}. Correct the platemap."
        )
    if "site" in table.columns:
        return table
    return fields.join(table, on="well", how="left", validate="m:1", maintain_order="left")


def _sites(attributes: Mapping[str, Any]) -> list[str]:
    return [image["path"] for image in attributes.get("well", {}).get("images", [])]


def _multiscale(attributes: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    images = attributes.get("multiscales", [])
    if not images:
        raise UnreadableImage(f"{name} has no 'multiscales' metadata: it is no OME-Zarr image.")
    return images[0]


def _channels_height_width(image: np.ndarray, axes: str, name: str) -> np.ndarray:
    for axis in "TZ":
        if axis in axes:
            if image.shape[axes.index(axis)] != 1:
                raise UnreadableImage(
                    f"{name} has {image.shape[axes.index(axis)]} along {axis}: give one plane of one time point "
                    "(project the stack first)."
                )
            image, axes = image.take(0, axes.index(axis)), axes.replace(axis, "")
    if sorted(axes) not in (["X", "Y"], ["C", "X", "Y"]):
        raise UnreadableImage(f"{name} has the axes {axes}; C, Y and X can be read.")
    return np.moveaxis(image[None] if "C" not in axes else image, axes.find("C") if "C" in axes else 0, 0)


def _names(names: list[Any]) -> tuple[str, ...] | None:
    return tuple(map(str, names)) if names and all(names) else None


def _micrometres(size: float, unit: str, name: str) -> float:
    if unit not in MICROMETRES:
        raise UnreadableImage(f"{name} gives its pixels in {unit!r}; {', '.join(MICROMETRES)} are known.")
    return size * MICROMETRES[unit]
