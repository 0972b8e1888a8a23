"""ImageWriter of the best compounds, beside untreated cells of the same seeds, for other programs to open.

images/0000_untreated…, images/0001_NAME…: a file of each treatment; or a dataset folder of all.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray
from tifffile import TiffWriter

from virtassay import __version__
from virtassay.data.dataset.store import DatasetInfo, DatasetWriter
from virtassay.data.loading.vocabulary import Vocabulary
from virtassay.files import replace_folder
from virtassay.screening.effects import Context
from virtassay.screening.reference import ReferenceEffects

Array = NDArray[np.generic]


class ImageWriter(Protocol):
    """Writes images of the first of `hits`, at the dose of their score and on cells of a context, into `folder`."""

    def __call__(self, folder: Path, hits: pl.DataFrame, reference: ReferenceEffects, context: Context) -> None: ...


@dataclass(frozen=True)
class HitImages:
    """top: compounds; cells: images of each at most, of as many batches and seeds as the last stage has."""

    top: int = 20
    cells: int = 16

    def __post_init__(self) -> None:
        if self.top < 1 or self.cells < 1:
            raise ValueError(f"images.top={self.top}, images.cells={self.cells}: give 1 or more of both.")


@dataclass(frozen=True)
class DatasetImages(HitImages):
    """A dataset folder: one image a row of its index, which says rank, batch and seed."""

    def __call__(self, folder: Path, hits: pl.DataFrame, reference: ReferenceEffects, context: Context) -> None:
        vocabulary = reference.predictor.assay.vocabulary
        provenance = {
            "generated_by": f"virtassay {__version__}",
            "model_sha256": reference.predictor.assay.model_sha256,
        }
        info = DatasetInfo(
            name="hits",
            channels=vocabulary.channels,
            image_shape=vocabulary.image_shape,
            dtype=vocabulary.dtype,
            pixel_size_um=vocabulary.pixel_size_um,
            scaling=vocabulary.scaling,
            provenance=provenance | {"steps": reference.predictor.sampler.n_steps, "seed": reference.predictor.seed},
        )
        with DatasetWriter(folder, info, overwrite=True) as writer:
            for treatment in _treatments(self, hits, reference, context):
                writer.append(treatment.images, treatment.index)


@dataclass(frozen=True)
class OmeTiffImages(HitImages):
    """An OME-TIFF a treatment, one image of it a cell, with names of channels and the pixel size."""

    def __call__(self, folder: Path, hits: pl.DataFrame, reference: ReferenceEffects, context: Context) -> None:
        vocabulary = _of_images(reference)
        metadata = {"axes": "CYX", "Channel": {"Name": list(vocabulary.channels)}}
        if vocabulary.pixel_size_um:
            unit = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
            metadata |= {"PhysicalSizeX": vocabulary.pixel_size_um, "PhysicalSizeY": vocabulary.pixel_size_um, **unit}
        with _replaced(folder) as place:
            for treatment in _treatments(self, hits, reference, context):
                with TiffWriter(place / f"{treatment.label}.ome.tif", ome=True) as file:
                    for image, name in zip(treatment.images, treatment.cells, strict=True):
                        named = metadata | {"Name": name}
                        file.write(image, photometric="minisblack", compression="zlib", metadata=named)


@dataclass(frozen=True)
class OmeZarrImages(HitImages):
    """An OME-Zarr 0.5 a treatment, a collection of one image a cell. Raises ImportError without the extra `ome`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if find_spec("ome_zarr") is None:  # said now, not when the screen is done
            raise ImportError(
                'images=ome_zarr needs the package ome-zarr: pip install "virtassay[ome]" (or choose images=ome_tiff).'
            )

    def __call__(self, folder: Path, hits: pl.DataFrame, reference: ReferenceEffects, context: Context) -> None:
        import zarr
        from ome_zarr.format import FormatV05
        from ome_zarr.writer import write_image

        vocabulary = _of_images(reference)
        axes = [{"name": "c", "type": "channel"}, *({"name": name, "type": "space"} for name in "yx")]
        size = vocabulary.pixel_size_um
        units = {} if size is None else {"y": "micrometer", "x": "micrometer"}
        scale = {} if size is None else {"y": size, "x": size}
        top = int(np.iinfo(vocabulary.dtype).max)
        window = {"min": 0, "max": top, "start": 0, "end": top}
        channels = [
            {"label": name, "active": True, "color": "FFFFFF", "window": window} for name in vocabulary.channels
        ]
        with _replaced(folder) as place:
            for treatment in _treatments(self, hits, reference, context):
                root = zarr.open_group(place / f"{treatment.label}.ome.zarr", mode="w", zarr_format=3)
                root.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
                series = [str(i) for i in range(len(treatment.images))]
                root.create_group("OME").attrs["ome"] = {"version": "0.5", "series": series}
                for number, image, name in zip(series, treatment.images, treatment.cells, strict=True):
                    write_image(
                        image,
                        root.create_group(number),
                        scale_factors=[],
                        name=name,
                        fmt=FormatV05(),
                        axes=axes,
                        scale=scale or None,
                        axes_units=units or None,
                        omero={"channels": channels},
                    )


@dataclass(frozen=True)
class _Treatment:
    """One treatment's images (n, c, h, w) with their rows of an index; label: of its file; cells: of each image."""

    label: str
    images: Array
    index: pl.DataFrame

    @property
    def cells(self) -> list[str]:
        return [f"{batch}, seed {seed}" for batch, seed in self.index.select("batch", "seed").iter_rows()]


def _treatments(
    choice: HitImages, hits: pl.DataFrame, reference: ReferenceEffects, context: Context
) -> Iterator[_Treatment]:
    """Untreated cells, then each of the best: one at a time, for memory."""
    predictor = reference.predictor
    untreated = reference.query(
        predictor.assay.vocabulary.controls[0], None, None, Context(cell_type=context.cell_type)
    )
    chosen = np.arange(len(predictor.units))[:: max(1, len(predictor.units) // choice.cells)][: choice.cells]
    treatments = [(0, "untreated", untreated)]
    for hit in hits.filter(pl.col("score").is_finite()).head(choice.top).iter_rows(named=True):
        treatments.append(
            (hit["rank"], hit["name"], reference.query(hit["smiles"], hit["smiles"], hit["dose_um"], context))
        )
    for rank, name, query in treatments:
        images = predictor.images([query], chosen)[0]
        label = f"{rank:04d}_{re.sub(r'[^A-Za-z0-9.-]+', '_', name)[:60]}"
        index = predictor.requests([query], chosen).with_columns(
            image_id=pl.format("{}-{}", pl.lit(label), pl.int_range(pl.len())),
            well=pl.lit(f"{rank:04d}"),
            seed=pl.Series(predictor.unit_seeds[chosen]),
            rank=pl.lit(rank),
            name=pl.lit(name),
        )
        yield _Treatment(label, images, index)


def _of_images(reference: ReferenceEffects) -> Vocabulary:
    vocabulary = reference.predictor.assay.vocabulary
    if vocabulary.dtype == "float32":
        raise ValueError("this model makes vectors, which no format of images holds: choose images=dataset.")
    return vocabulary


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `folder` once it is whole."""
    with TemporaryDirectory(prefix=".images-", dir=folder.parent) as place:
        whole = Path(place) / "whole"
        whole.mkdir()
        yield whole
        replace_folder(whole, folder)
