"""RxRx1: 125,510 fields of four cell types under 1,138 siRNAs, six stains, 51 experiments."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from virtassay.data.prepare.annotation import kept, read_table
from virtassay.data.prepare.fields.cells import Cells
from virtassay.data.prepare.public.files import (
    Part,
    absent_files,
    obtain,
    report,
    require_columns,
    require_images,
    require_tables,
)
from virtassay.data.prepare.scaling import Scaling
from virtassay.data.prepare.sources import FilePerChannel
from virtassay.data.prepare.table import prepare_table

ADDRESS = "https://storage.googleapis.com/rxrx/rxrx1"  # where rxrx.ai/rxrx1 links to
METADATA = "metadata.csv"
ARCHIVES = {"rxrx1-metadata.zip": (1_333_687, 12_000_000), "rxrx1-images.zip": (49_039_640_485, 50_000_000_000)}
INSIDE = "rxrx1"  # the folder that the zip files hold
COLUMNS = ("site_id", "cell_type", "experiment", "plate", "well", "site", "well_type", "sirna")
CHANNELS = ("DNA", "ER", "actin", "RNA", "mitochondria", "golgi")  # w1 … w6
PATTERN = "images/{}/Plate{}/{}_s{}_w{}.png"
LICENCE = "CC BY-NC-SA 4.0"
CITATION = (
    "Sypetkowski et al. 2023, RxRx1: a dataset for evaluating experimental batch correction methods (arXiv 2301.05768)"
)


def prepare_rxrx1(
    *,
    root: str | Path,
    folder: str | Path,
    scaling: Scaling | None,
    split: Callable[[pl.DataFrame], pl.DataFrame],
    genes: str | Path | None = None,
    keep: Mapping[str, Sequence[Any]] | None = None,
    crop: int | None = None,
    size: int | None = None,
    pixel_size_um: float | None = None,
    address: str = ADDRESS,
    download: bool = False,
    dry_run: bool = False,
    cells: Cells | None = None,
    accept: Sequence[str] = (),
    on_error: str = "raise",
    overwrite: bool = False,
) -> Path | None:
    """Prepare RxRx1, an image a site (512×512, 8 bit, six PNGs); None after a dry run.

    folder: metadata.csv and images/HUVEC-01/Plate1/B03_s1_w1.png, or rxrx1/ with them, as the zip files unpack. genes:
    a table with columns "siRNA ID" and "Gene Symbol" (ThermoFisher's), joined for the genes. keep: {column of the
    table: values}, as {cell_type: [HUVEC]}. download: fetch from `address` what is missing; dry_run: log what that is
    and how large, and write nothing. The negative controls (EMPTY, no siRNA) are the controls; the 30 siRNAs that are
    on every plate are positive controls, and treatments as others are.
    cells, accept: as in `virtassay.data.prepare.table.prepare_table`.
    Raises FileNotFoundError, InvalidIndex and UnreadableImage naming tables, columns and plates.
    """
    folder, keep = Path(folder), keep or {}
    metadata, images = (Part(name, f"{address}/{name}", *sizes) for name, sizes in ARCHIVES.items())

    def lacking() -> list[Part]:
        base = _base(folder)
        if not (base / METADATA).is_file():
            return [metadata, images]
        needed = _needed(kept(sites(base), keep, str(base / METADATA)))
        return [images] if absent_files(base, needed["path"]).any() else []

    if dry_run:
        report(lacking(), folder)
        return None
    if download:
        obtain([metadata] if metadata in lacking() else [], folder)
        obtain(lacking(), folder)
    base = _base(folder)
    require_tables([Part(METADATA, metadata.url, 0)], base, "RxRx1")
    table = kept(sites(base, genes), keep, str(base / METADATA))
    require_images(base, _needed(table), on_error)
    return prepare_table(
        root=root,
        table=table,
        columns={"image_id": "site_id", "perturbation": "sirna", "batch": "experiment", "plate": "folder"},
        images=FilePerChannel(
            str(base / "images"), "{plate}/{well}_s{site}_w{channel}.png", ["1", "2", "3", "4", "5", "6"]
        ),
        channels=CHANNELS,
        scaling=scaling,
        keep=keep,  # applied already: says that files of others are no concern
        split=split,
        crop=crop,
        size=size,
        pixel_size_um=pixel_size_um,
        licence=LICENCE,
        citation=CITATION,
        cells=cells,
        accept=accept,
        on_error=on_error,
        overwrite=overwrite,
    )


def sites(base: Path, genes: str | Path | None = None) -> pl.DataFrame:
    """Map the official table onto the index, a row a site; plates are called HUVEC-01/Plate1, as their folders are."""
    path = base / METADATA
    table = read_table(path, {}, {})
    require_columns(table, COLUMNS, path, "RxRx1's metadata")
    kind = pl.col("well_type")
    table = table.with_columns(
        folder=pl.format("{}/Plate{}", "experiment", "plate"),
        sirna=pl.col("sirna").cast(pl.String),  # a part of the table may hold numbers only
        is_control=kind == "negative_control",
        control_type=pl.when(kind.str.ends_with("_control")).then(kind.str.strip_suffix("_control")),
        perturbation_type=pl.when(kind == "negative_control").then(pl.lit("none")).otherwise(pl.lit("sirna")),
    )
    if genes is None:
        return table
    names = read_table(Path(genes), {}, {})
    require_columns(names, ["siRNA ID", "Gene Symbol"], Path(genes), "the table of the siRNAs' genes")
    names = names.select(sirna="siRNA ID", gene="Gene Symbol").unique("sirna", maintain_order=True)
    return table.join(names, on="sirna", how="left", maintain_order="left")


def _base(folder: Path) -> Path:
    return folder / INSIDE if (folder / INSIDE / METADATA).is_file() else folder


def _needed(table: pl.DataFrame) -> pl.DataFrame:
    columns = ("experiment", "plate", "well", "site")
    return pl.concat(
        table.select(plate="folder", path=pl.format(PATTERN, *columns, pl.lit(str(channel)))) for channel in range(1, 7)
    )
