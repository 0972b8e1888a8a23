"""ImageWriter of the best compounds, beside untreated cells of the same seeds, for other programs to open.

images/0000_untreated…, images/0001_NAME…: a file of each treatment; or a dataset folder of all.
"""

import re
from collections.abc import Callable, Iterator
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
Treatment = tuple[str, Array, pl.DataFrame]  # label of its file, images (n, c, h, w), their rows of an index
WriteImages = Callable[[Path, dict[str, Array], Vocabulary], None]  # path without ending, name → image


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
        predictor, vocabulary = reference.predictor, reference.predictor.assay.vocabulary
        provenance = {"generated_by": f"virtassay {__version__}", "model_sha256": predictor.assay.model_sha256}
        info = DatasetInfo(
            "hits",
            vocabulary.channels,
            vocabulary.image_shape,
            vocabulary.dtype,
            pixel_size_um=vocabulary.pixel_size_um,
            scaling=vocabulary.scaling,
            provenance=provenance | {"steps": predictor.sampler.n_steps, "seed": predictor.seed},
        )
        with DatasetWriter(folder, info, overwrite=True) as writer:
            for _, images, index in _treatments(self, hits, reference, context):
                writer.append(images, index)


@dataclass(frozen=True)
class OmeTiffImages(HitImages):
    """An OME-TIFF a treatment, one image of it a cell, with names of channels and the pixel size."""

    def __call__(self, folder: Path, hits: pl.DataFrame, reference: ReferenceEffects, context: Context) -> None:
        treatments = _treatments(self, hits, reference, context)
        _write_files(_write_tiff, folder, reference.predictor.assay.vocabulary, treatments)


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
        treatments = _treatments(self, hits, reference, context)
        _write_files(_write_zarr, folder, reference.predictor.assay.vocabulary, treatments)


def _treatments(
    choice: HitImages, hits: pl.DataFrame, reference: ReferenceEffects, context: Context
) -> Iterator[Treatment]:
    """Untreated cells, then each of the best: one at a time, for memory."""
    predictor = reference.predictor
    control = predictor.assay.vocabulary.controls[0]
    chosen = np.arange(len(predictor.units))[:: max(1, len(predictor.units) // choice.cells)][: choice.cells]
    treatments = [(0, "untreated", reference.query(control, None, None, Context(cell_type=context.cell_type)))]
    best = hits.filter(pl.col("score").is_finite()).head(choice.top).select("rank", "name", "smiles", "dose_um")
    for rank, name, smiles, dose in best.iter_rows():
        treatments.append((rank, name, reference.query(smiles, smiles, dose, context)))
    for rank, name, query in treatments:
        label = f"{rank:04d}_{re.sub(r'[^A-Za-z0-9.-]+', '_', name)[:60]}"
        index = predictor.requests([query], chosen).with_columns(
            image_id=pl.format("{}-{}", pl.lit(label), pl.int_range(pl.len())),
            well=pl.lit(f"{rank:04d}"),
            seed=pl.Series(predictor.unit_seeds[chosen]),
            rank=pl.lit(rank),
            name=pl.lit(name),
        )
        yield label, predictor.images([query], chosen)[0], index


def _write_files(write: WriteImages, folder: Path, vocabulary: Vocabulary, treatments: Iterator[Treatment]) -> None:
    """Write each treatment's images, by names of batch and seed, into a folder that takes its place when whole."""
    if vocabulary.dtype == "float32":
        raise ValueError("this model makes vectors, which no format of images holds: choose images=dataset.")
    with TemporaryDirectory(prefix=".images-", dir=folder.parent) as place:
        whole = Path(place) / "whole"
        whole.mkdir()
        for label, images, index in treatments:
            names = [f"{batch}, seed {seed}" for batch, seed in index.select("batch", "seed").iter_rows()]
            write(whole / label, dict(zip(names, images, strict=True)), vocabulary)
        replace_folder(whole, folder)


def _write_tiff(path: Path, images: dict[str, Array], vocabulary: Vocabulary) -> None:
    metadata = {"axes": "CYX", "Channel": {"Name": list(vocabulary.channels)}}
    if vocabulary.pixel_size_um:
        for axis in "XY":
            metadata |= {f"PhysicalSize{axis}": vocabulary.pixel_size_um, f"PhysicalSize{axis}Unit": "µm"}
    with TiffWriter(f"{path}.ome.tif", ome=True) as file:
        for name, image in images.items():
            file.write(image, photometric="minisblack", compression="zlib", metadata=metadata | {"Name": name})


def _write_zarr(path: Path, images: dict[str, Array], vocabulary: Vocabulary) -> None:
    import zarr
    from ome_zarr.format import FormatV05
    from ome_zarr.writer import write_image

    size, top = vocabulary.pixel_size_um, int(np.iinfo(vocabulary.dtype).max)
    look = {"active": True, "color": "FFFFFF", "window": {"min": 0, "max": top, "start": 0, "end": top}}
    root = zarr.open_group(f"{path}.ome.zarr", mode="w", zarr_format=3)
    root.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    root.create_group("OME").attrs["ome"] = {"version": "0.5", "series": [str(i) for i in range(len(images))]}
    for number, (name, image) in enumerate(images.items()):
        write_image(
            image,
            root.create_group(str(number)),
            scale_factors=[],
            name=name,
            fmt=FormatV05(),
            axes=[{"name": "c", "type": "channel"}, *({"name": axis, "type": "space"} for axis in "yx")],
            scale=None if size is None else {"y": size, "x": size},
            axes_units=None if size is None else {"y": "micrometer", "x": "micrometer"},
            omero={"channels": [{"label": channel, **look} for channel in vocabulary.channels]},
        )
