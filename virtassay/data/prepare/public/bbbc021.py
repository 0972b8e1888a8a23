"""BBBC021 as the Broad gives it out: whole fields of MCF7 cells, one TIFF a channel, under 113 compounds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from virtassay.data.prepare.annotation import Annotation, kept, read_table
from virtassay.data.prepare.public.downloads import PublishedFile, missing
from virtassay.data.prepare.public.public_set import OfficialScreen, absent_files, require_columns, require_tables
from virtassay.data.prepare.sources import FilePerChannel

ADDRESS = "https://data.broadinstitute.org/bbbc/BBBC021"  # from the set's page, bbbc.broadinstitute.org/BBBC021
IMAGES, COMPOUNDS, MOA = "BBBC021_v1_image.csv", "BBBC021_v1_compound.csv", "BBBC021_v1_moa.csv"
TABLES = {IMAGES: 3_965_784, COMPOUNDS: 8_179, MOA: 4_404}  # bytes
ARCHIVE, UNPACKED = 839_000_000, 1_900_000_000  # bytes, about, of a plate: 720 TIFFs of 1280 × 1024 pixels, 16 bit
CHANNELS = ("DAPI", "tubulin", "actin")
STAINS = ("DAPI", "Tubulin", "Actin")  # as the table calls them; w1, w2 and w4 in the names of the files
PLATES = {  # of a week, as in BBBC021_v1_image.csv: known before that is here
    1: "22123 22141 22161 22361 22381 22401", 2: "24121 24141 24161 24361 24381 24401",
    3: "25421 25441 25461 25681 25701 25721", 4: "27481 27521 27542 27801 27821 27861",
    5: "28901 28921 28961 29301 29321 29341", 6: "31641 31661 31681 32061 32121 32161",
    7: "34341 34381 34641 34661 34681", 8: "38203 38221 38241 38341 38342",
    9: "39206 39221 39222 39282 39283 39301", 10: "40111 40115 40119",
}  # fmt: skip
LICENCE = "see https://bbbc.broadinstitute.org/BBBC021 (not confirmed by us)"
CITATION = (
    "We used image set BBBC021v1 (Caie et al. 2010, Molecular Cancer Therapeutics, doi 10.1158/1535-7163.MCT-09-1148), "
    "available from the Broad Bioimage Benchmark Collection (Ljosa et al. 2012, Nature Methods, doi 10.1038/nmeth.2083)"
)


@dataclass(frozen=True)
class BBBC021:
    """The 13,200 fields (1280×1024, 16 bit) of BBBC021v1, an image a field.

    In the folder: the three official tables and Week1_22123/….tif, as the zip files unpack (or Week1/Week1_22123/…, as
    the table has it). keep: {column of the table, or plate, well, site, compound, dose_um: values}; of the zip files,
    only those of these plates are fetched, from `address`. Doses are in µM; DMSO is the negative control and taxol, on
    every plate, the positive.
    """

    address: str = ADDRESS

    def missing_files(self, folder: Path, keep: Mapping[str, Sequence[Any]]) -> Iterator[list[PublishedFile]]:
        """Yield the tables, then the zip files of plates that lack images."""
        yield missing(self._tables(), folder)
        yield self._archives(folder, keep)

    def read(self, folder: Path, keep: Mapping[str, Sequence[Any]], on_error: str) -> OfficialScreen:
        require_tables(self._tables(), folder, "BBBC021's tables")
        table = kept(fields(folder), keep, str(folder / IMAGES))
        # keep is applied already: it says that files of others are no concern
        annotation = Annotation({"perturbation": "compound"}, {"cell_type": "MCF7"}, keep, controls=["DMSO"])
        images = FilePerChannel(str(folder), "{channel}", [f"{{{stain}_file}}" for stain in STAINS])
        return OfficialScreen(table, annotation, images, CHANNELS, LICENCE, CITATION, (folder, _needed(table)))

    def _tables(self) -> list[PublishedFile]:
        return [PublishedFile(name, f"{self.address}/{name}", size) for name, size in TABLES.items()]

    def _archives(self, folder: Path, keep: Mapping[str, Sequence[Any]]) -> list[PublishedFile]:
        """The zip files of plates that lack images; of all plates (those named by keep) where a table is missing."""
        if missing(self._tables(), folder):
            every = [f"Week{week}_{number}" for week, numbers in PLATES.items() for number in numbers.split()]
            plates = [plate for plate in every if plate in keep.get("plate", every)]
        else:
            needed = _needed(kept(fields(folder), keep, str(folder / IMAGES)))
            plates = needed.filter(absent_files(folder, needed["path"]))["plate"].unique(maintain_order=True).to_list()
        names = [f"BBBC021_v1_images_{plate}.zip" for plate in plates]
        return [PublishedFile(name, f"{self.address}/{name}", ARCHIVE, UNPACKED) for name in names]


def fields(folder: Path) -> pl.DataFrame:
    """Map the official tables onto the index, a row a field: plate, well, site, batch (the week), compound, dose, …"""
    stem = "Image_FileName_{}", "Image_PathName_{}"
    path = folder / IMAGES
    table = read_table(path)
    names = [form.format(stain) for stain in STAINS for form in stem]
    plate, well = "Image_Metadata_Plate_DAPI", "Image_Metadata_Well_DAPI"
    compound, dose = "Image_Metadata_Compound", "Image_Metadata_Concentration"
    require_columns(table, [*names, plate, well, compound, dose], path, "BBBC021's table of images")
    unpacked = pl.col(plate).is_in([p for p in table[plate].unique() if not (folder / p.split("_")[0] / p).is_dir()])
    place = pl.when(unpacked).then(pl.col(plate)).otherwise(pl.col("Image_PathName_DAPI"))
    table = table.select(
        plate=plate,
        well=well,
        site=pl.col("Image_FileName_DAPI").str.extract(r"_s(\d+)_w1"),
        batch=pl.col(plate).str.extract(r"^(Week\d+)_"),
        replicate="Replicate",
        compound=compound,
        dose_um=pl.col(dose).cast(pl.Float64),
        **kinds(pl.col(compound)),
        **{f"{stain}_file": place + "/" + pl.col(f"Image_FileName_{stain}") for stain in STAINS},
    )
    moa = read_table(folder / MOA)
    require_columns(moa, ["compound", "concentration", "moa"], folder / MOA, "BBBC021's table of mechanisms")
    moa = moa.select("compound", "moa", nM=(pl.col("concentration") * 1e3).round().cast(pl.Int64))
    table = table.with_columns(nM=(pl.col("dose_um") * 1e3).round().cast(pl.Int64))
    table = table.join(moa, on=["compound", "nM"], how="left", maintain_order="left")
    table = table.join(smiles(folder / COMPOUNDS), on="compound", how="left", maintain_order="left")
    return table.drop("nM").with_columns(image_id=pl.format("{}_{}_s{}", "plate", "well", "site"))


def smiles(path: Path) -> pl.DataFrame:
    """Read the SMILES of the compounds, a row a compound; those that AstraZeneca kept to itself are null."""
    table = read_table(path)
    require_columns(table, ["compound", "smiles"], path, "BBBC021's table of compounds")
    return table.select("compound", "smiles").unique("compound", maintain_order=True)


def kinds(compound: pl.Expr) -> dict[str, pl.Expr]:
    """Say of which kind each treatment is: perturbation_type, and control_type of DMSO and taxol."""
    return {
        "perturbation_type": pl.when(compound == "DMSO").then(pl.lit("none")).otherwise(pl.lit("compound")),
        "control_type": compound.replace_strict({"DMSO": "negative", "taxol": "positive"}, default=None),
    }


def _needed(table: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([table.select("plate", path=f"{stain}_file") for stain in STAINS])
