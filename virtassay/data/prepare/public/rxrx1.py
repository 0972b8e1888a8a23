"""RxRx1: 125,510 fields of four cell types under 1,138 siRNAs, six stains, 51 experiments."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from virtassay.data.prepare.annotation import Annotation, kept, read_table
from virtassay.data.prepare.public.downloads import PublishedFile
from virtassay.data.prepare.public.public_set import OfficialScreen, absent_files, require_columns, require_tables
from virtassay.data.prepare.sources import FilePerChannel

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


@dataclass(frozen=True)
class RxRx1:
    """RxRx1, an image a site (512×512, 8 bit, six PNGs).

    In the folder: metadata.csv and images/HUVEC-01/Plate1/B03_s1_w1.png, or rxrx1/ with them, as the zip files unpack.
    keep: {column of the table: values}, as {cell_type: [HUVEC]}. genes: a table with columns "siRNA ID" and "Gene
    Symbol" (ThermoFisher's), joined for the genes. The negative controls (EMPTY, no siRNA) are the controls; the 30
    siRNAs that are on every plate are positive controls, and treatments as others are.
    """

    genes: str | Path | None = None
    address: str = ADDRESS

    def missing_files(self, folder: Path, keep: Mapping[str, Sequence[Any]]) -> Iterator[list[PublishedFile]]:
        """Yield the zip file of the table, then that of the images where any is missing."""
        metadata, images = self._archives()
        yield [] if (_base(folder) / METADATA).is_file() else [metadata]
        base = _base(folder)
        path = base / METADATA
        whole = path.is_file() and not absent_files(base, _needed(kept(sites(base), keep, str(path)))["path"]).any()
        yield [] if whole else [images]

    def read(self, folder: Path, keep: Mapping[str, Sequence[Any]], on_error: str) -> OfficialScreen:
        base = _base(folder)
        require_tables([PublishedFile(METADATA, self._archives()[0].url, 0)], base, "RxRx1")
        table = kept(sites(base, self.genes), keep, str(base / METADATA))
        images = FilePerChannel(str(base / "images"), "{plate}/{well}_s{site}_w{channel}.png", list("123456"))
        columns = {"image_id": "site_id", "perturbation": "sirna", "batch": "experiment", "plate": "folder"}
        # keep is applied already: it says that files of others are no concern
        needed = base, _needed(table)
        return OfficialScreen(table, Annotation(columns, keep=keep), images, CHANNELS, LICENCE, CITATION, needed)

    def _archives(self) -> list[PublishedFile]:
        return [PublishedFile(name, f"{self.address}/{name}", *sizes) for name, sizes in ARCHIVES.items()]


def sites(base: Path, genes: str | Path | None = None) -> pl.DataFrame:
    """Map the official table onto the index, a row a site; plates are called HUVEC-01/Plate1, as their folders are."""
    path = base / METADATA
    table = read_table(path)
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
    names = read_table(Path(genes))
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
